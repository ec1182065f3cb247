//! Lists come in pages.

use serde::Serialize;

/// A page of a list, newest first.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Token of the next page; absent at the end.
    pub next: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default)]
pub struct PageOf {
    /// Rows on it; 0 leaves that to the broker.
    pub size: u32,
    /// Token of the page before; absent for the first.
    pub token: Option<String>,
}
