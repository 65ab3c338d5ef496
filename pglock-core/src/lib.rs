//! Distributed read-write locks on PostgreSQL advisory locks: the trait, the guards and the engine.
