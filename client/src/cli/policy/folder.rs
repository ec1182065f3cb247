//! `jeton policy check`, `fmt` and `test`: a folder by itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jeton_domain::decision::Rules;
use jeton_files::Access;
use jeton_policy::{
    PolicySet, Vocabulary,
    author::{
        cases, format,
        lint::{self, Severity},
    },
    prove::Solver,
};
use serde_json::json;

use super::{lines, load, now, told};
use crate::cli::{
    exit::{self, Exit},
    failure::Failure,
    output::{Output, clean},
};

/// Tells the problems of a folder, and what is odd.
pub fn check(
    output: Output,
    folder: &Path,
    strict: bool,
    solver: Option<&Solver>,
) -> Result<Exit, Failure> {
    let set = match PolicySet::load(folder, &Vocabulary::default()) {
        Ok(set) => set,
        Err(problems) => {
            let problems = told(&problems);
            output.result(&json!({ "problems": problems, "odd": [] }), || lines(&problems))?;
            return Ok(exit::INVALID);
        }
    };
    let routes = lint::routes(&set);
    let mut odd = lint::lint(&set);
    let mut undecided = Vec::new();
    if let Some(solver) = solver {
        let found = jeton_policy::prove::lint::lint(&set, solver).map_err(Failure::Broken)?;
        // Why not both: the plain lint names the same policy, and which other one it means.
        let told = |one: &lint::Finding| {
            odd.iter().any(|known| {
                known.policy == one.policy && (known.kind == one.kind || known.kind == "repeated")
            })
        };
        let new: Vec<_> = found.findings.into_iter().filter(|one| !told(one)).collect();
        odd.extend(new);
        odd.sort_by(|a, b| (&a.policy, a.kind).cmp(&(&b.policy, b.kind)));
        undecided = found.undecided;
    }
    let values: Vec<_> = odd
        .iter()
        .map(|one| json!({ "policy": one.policy.as_str(), "kind": one.kind, "words": one.words }))
        .chain(
            routes
                .iter()
                .map(|one| json!({ "route": one.route, "kind": one.kind, "severity": severity(one), "words": one.words })),
        )
        .collect();
    let open: Vec<_> = undecided
        .iter()
        .map(|(policy, why)| json!({ "policy": policy.as_str(), "words": why }))
        .collect();
    let deliveries = lint::deliveries(&set);
    let notes: Vec<_> = deliveries
        .iter()
        .map(|one| json!({ "policy": one.policy.as_str(), "kind": one.kind, "words": one.words }))
        .collect();
    let findings = values.len();
    // Why: what was written on purpose is listed, and fails nobody's pipeline.
    let listed = routes.iter().filter(|one| one.severity == Severity::Information).count();
    let (hash, count) = (set.hash().to_owned(), set.policies().count());
    output.result(
        &json!({ "problems": [], "odd": values, "notes": notes, "not_decided": open, "hash": hash }),
        || {
            let mut text: String = odd
                .iter()
                .map(|one| format!("{}: {}: {}\n", one.policy, one.kind, one.words))
                .collect();
            for one in &routes {
                let (route, words) = (clean(&one.route), clean(&one.words));
                let severity = severity(one);
                text += &format!("route {route}: {severity}: {}: {words}\n", one.kind);
            }
            for one in &deliveries {
                text += &format!("note: {}: {}: {}\n", one.policy, one.kind, clean(&one.words));
            }
            for (policy, why) in &undecided {
                text += &format!("{policy}: not decided: {}\n", clean(why));
            }
            text += &format!("{count} policies are good, {findings} findings; the set is {hash}\n");
            text
        },
    )?;
    let good = undecided.is_empty() && (findings == listed || !strict);
    Ok(if good { exit::OK } else { exit::INVALID })
}

fn severity(finding: &lint::RouteFinding) -> &'static str {
    match finding.severity {
        Severity::Warning => "warning",
        Severity::Information => "information",
    }
}

/// Brings the policies of a folder into one form.
pub fn fmt(output: Output, folder: &Path, check: bool) -> Result<Exit, Failure> {
    let found =
        format::format(folder).map_err(|problems| Failure::Invalid(told(&problems).join("\n")))?;
    let files: Vec<_> = found.iter().map(|one| one.file.clone()).collect();
    if !check {
        for one in found {
            let path = folder.join(&one.file);
            // Why whole: a broker that reloads at this moment reads the old or the new.
            jeton_files::replace(&path, one.text.as_bytes(), Access::Shared)
                .map_err(|error| Failure::Broken(format!("`{}`: {error}", path.display())))?;
        }
    }
    let word = if check { "would change" } else { "changed" };
    output.result(&json!({ "changed": files }), || {
        files.iter().map(|file| format!("{word} {file}\n")).collect()
    })?;
    Ok(if check && !files.is_empty() { exit::INVALID } else { exit::OK })
}

/// Runs tables of cases.
pub fn test(
    output: Output,
    folder: &Path,
    files: &[PathBuf],
    cover_all: bool,
) -> Result<Exit, Failure> {
    let set = load(folder)?;
    let mut all = Vec::new();
    for file in files {
        let shown = file.display().to_string();
        let text = fs::read_to_string(file)
            .map_err(|error| Failure::Invalid(format!("`{shown}` can't be read: {error}")))?;
        let cases = cases::read(&text, now())
            .map_err(|error| Failure::Invalid(format!("{shown}:{error}")))?;
        all.extend(cases);
    }
    let report = cases::run(&set, &all);
    let failed = report.failed();
    let wrong: Vec<_> = report.outcomes.iter().filter(|one| !one.wrong.is_empty()).collect();
    let values: Vec<_> = wrong
        .iter()
        .map(|one| json!({ "case": one.name, "line": one.line, "wrong": one.wrong }))
        .collect();
    let never: Vec<_> = report.never.iter().map(|id| id.as_str()).collect();
    let value = json!({ "cases": all.len(), "failed": values, "never_decided": never });
    output.result(&value, || {
        let mut text = String::new();
        for one in &wrong {
            text += &format!("FAILED {} (line {})\n", clean(&one.name), one.line);
            text += &one.wrong.iter().map(|why| format!("  {}\n", clean(why))).collect::<String>();
        }
        for id in &never {
            text += &format!("no case is decided by {id}\n");
        }
        let covered = report.policies.saturating_sub(never.len());
        let (cases, policies) = (all.len(), report.policies);
        text += &format!("{} of {cases} cases hold; ", cases.saturating_sub(failed));
        text += &format!("{covered} of {policies} policies decided in one\n");
        text
    })?;
    let good = failed == 0 && (never.is_empty() || !cover_all);
    Ok(if good { exit::OK } else { exit::INVALID })
}
