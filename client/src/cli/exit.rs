//! Exit codes: one table, shown in `--help` and held by a test. The numbers are those of
//! `sysexits.h`, so that scripts and agents may know them already.

use jeton_client::ErrorKind;

/// One exit code and when it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// What the process ends with.
    pub code: u8,
    meaning: &'static str,
}

/// Done.
pub const OK: Exit = Exit { code: 0, meaning: "done" };
/// The command line is wrong.
pub const USAGE: Exit = Exit { code: 64, meaning: "the command line is wrong" };
/// The request is wrong.
pub const INVALID: Exit =
    Exit { code: 65, meaning: "the request is wrong, or the thing is in another state" };
/// Nothing there.
pub const NOT_FOUND: Exit = Exit { code: 66, meaning: "no such session, grant or program" };
/// Out of reach.
pub const UNAVAILABLE: Exit =
    Exit { code: 69, meaning: "the broker or the upstream can't be reached" };
/// Broken.
pub const INTERNAL: Exit = Exit { code: 70, meaning: "something broke" };
/// Busy.
pub const BUSY: Exit = Exit { code: 75, meaning: "too much at once; try again" };
/// The log is not what was signed.
pub const TAMPERED: Exit = Exit { code: 74, meaning: "the log is not what was signed" };
/// A person must approve.
pub const NEEDS_APPROVAL: Exit = Exit { code: 76, meaning: "a person must approve first" };
/// Refused.
pub const DENIED: Exit = Exit { code: 77, meaning: "refused, or the broker does not know you" };
/// Not set up.
pub const CONFIG: Exit = Exit { code: 78, meaning: "this side is not set up" };

const TABLE: [Exit; 11] = [
    OK,
    USAGE,
    INVALID,
    NOT_FOUND,
    UNAVAILABLE,
    INTERNAL,
    TAMPERED,
    BUSY,
    NEEDS_APPROVAL,
    DENIED,
    CONFIG,
];

/// Tells how a kind of error ends the process.
#[must_use]
pub fn of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Denied | ErrorKind::Unauthenticated => DENIED,
        ErrorKind::NeedsApproval => NEEDS_APPROVAL,
        ErrorKind::Invalid | ErrorKind::State => INVALID,
        ErrorKind::NotFound => NOT_FOUND,
        ErrorKind::Busy => BUSY,
        ErrorKind::Unavailable | ErrorKind::Upstream => UNAVAILABLE,
        ErrorKind::Config => CONFIG,
        ErrorKind::Internal => INTERNAL,
        // A kind that this command does not know yet.
        _ => INTERNAL,
    }
}

/// Gives the table as text for `--help`.
#[must_use]
pub fn help() -> String {
    let rows = TABLE.iter().map(|exit| format!("\n  {:>2}  {}", exit.code, exit.meaning));
    format!(
        "Exit codes:{}\n`jeton exec` ends as its command does, with 128+n for signal n.",
        rows.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_codes_are_the_documented_ones() {
        let codes = TABLE.map(|exit| exit.code);
        assert_eq!(codes, [0, 64, 65, 66, 69, 70, 74, 75, 76, 77, 78]);
    }

    #[test]
    fn each_kind_of_error_has_its_code() {
        let table = [
            (ErrorKind::Denied, 77),
            (ErrorKind::Unauthenticated, 77),
            (ErrorKind::NeedsApproval, 76),
            (ErrorKind::Invalid, 65),
            (ErrorKind::State, 65),
            (ErrorKind::NotFound, 66),
            (ErrorKind::Busy, 75),
            (ErrorKind::Unavailable, 69),
            (ErrorKind::Upstream, 69),
            (ErrorKind::Config, 78),
            (ErrorKind::Internal, 70),
        ];
        for (kind, code) in table {
            assert_eq!(of(kind).code, code, "{kind:?}");
        }
    }

    #[test]
    fn the_help_shows_every_code() {
        let help = help();
        for exit in TABLE {
            assert!(help.contains(&format!(" {}  {}\n", exit.code, exit.meaning)), "{exit:?}");
        }
    }
}
