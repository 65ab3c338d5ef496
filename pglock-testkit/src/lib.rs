//! A test PostgreSQL, and the checks that every pglock backend runs.
