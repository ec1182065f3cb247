//! The strict store in memory.
