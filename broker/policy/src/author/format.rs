//! Policies in one form, so that changes show what changed.

use std::path::Path;

use cedar_policy_formatter::{Config, policies_str_to_pretty};

use crate::{
    folder,
    problem::{PolicyProblem, Source},
};

const CONFIG: Config = Config { line_width: 100, indent_width: 4 };

/// A file that is not in the form.
pub struct Unformatted {
    /// Its name in the folder.
    pub file: String,
    /// How it would read.
    pub text: String,
}

/// Finds the files of a folder that are not in the form. Comments stay.
///
/// # Errors
/// With each file that can't be read or is no policy.
pub fn format(folder: &Path) -> Result<Vec<Unformatted>, Vec<PolicyProblem>> {
    let mut problems = vec![];
    let sources = folder::read(folder, &mut problems);
    let mut found = vec![];
    for Source { name, text } in sources.into_iter().filter(|one| one.name.ends_with(".cedar")) {
        match policies_str_to_pretty(&text, &CONFIG) {
            // Spec: POSIX: a line ends with a line feed, the last one too.
            Ok(pretty) => {
                let pretty = format!("{}\n", pretty.trim_end());
                if pretty != text {
                    found.push(Unformatted { file: name, text: pretty });
                }
            }
            Err(error) => problems.push(PolicyProblem::of_file(&name, format!("{error:#}"), "")),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}
