//! For those who write policies: try them on what may be asked, before anything rests on them.
//!
//! Everything here asks the one `decide`, in a session made up for the question.

pub mod ask;
pub mod cases;
pub mod compare;
pub mod format;
pub mod lint;
pub mod replay;
pub mod suggest;
pub mod survey;
