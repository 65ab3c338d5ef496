//! Distributed read-write locks on PostgreSQL advisory locks, over sqlx.
