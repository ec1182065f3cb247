//! Facts that may be unknown.
//!
//! There is no conversion to `bool`: a caller matches all three cases and says what unknown means for it. For a
//! restriction, unknown denies.

/// Whether a fact is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    /// It is proven.
    Yes,
    /// Its opposite is proven.
    No,
    /// Neither is: a source failed, a bound was reached, or nobody was asked.
    Unknown,
}

impl Known {
    /// Whether at least one of several facts is true. One unknown fact leaves a "no" unknown.
    #[must_use]
    pub fn any(facts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::No;
        for fact in facts {
            match fact {
                Self::Yes => return Self::Yes,
                Self::Unknown => all = Self::Unknown,
                Self::No => {}
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_fact_is_never_counted_as_no() {
        use Known::{No, Unknown, Yes};
        assert_eq!(Known::any([]), No);
        assert_eq!(Known::any([No, No]), No);
        assert_eq!(Known::any([No, Unknown, No]), Unknown);
        assert_eq!(Known::any([Unknown, Yes]), Yes);
    }
}
