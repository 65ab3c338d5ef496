//! What pglock is for, one scenario at a time.
