//! `jeton policy loaded`, `reload`, `fetch` and `rollback`: the set that a broker has in force.

use std::{fs, path::Path};

use jeton_client::now_millis;
use jeton_files::Access;
use serde_json::json;

use super::lines;
use crate::cli::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::{clean, table},
    span,
};

/// Tells what is in force, and what was.
pub async fn loaded(global: &Global) -> Result<Exit, Failure> {
    let found = global.connect().await?.policies().await?;
    global.output().result(&found, || {
        let now = now_millis();
        let rows = found.kept.iter().map(|one| {
            let holds = if one.hash == found.hash { "in force" } else { "" };
            [one.hash.clone(), span::relative(now, one.since), holds.to_owned()]
        });
        let instead = found.instead_of.as_ref().map_or_else(String::new, |hash| {
            format!("\nin place of the folder's, {}, until that is another\n", clean(hash))
        });
        table(["SET", "SINCE", ""], rows) + &instead
    })?;
    Ok(exit::OK)
}

/// Has it loaded anew.
pub async fn reload(global: &Global) -> Result<Exit, Failure> {
    let done = global.connect().await?.reload_policies().await?;
    global.output().result(&done, || {
        let word = if done.changed { "in force now" } else { "in force as before" };
        format!("{}{} is {word}\n", lines(&done.problems), clean(&done.hash))
    })?;
    Ok(if done.problems.is_empty() { exit::OK } else { exit::INVALID })
}

/// Goes back to another.
pub async fn roll_back(global: &Global, hash: &str, reason: &str) -> Result<Exit, Failure> {
    let in_force = global.connect().await?.roll_back_policies(hash, reason).await?;
    global.output().result(&json!({ "hash": hash, "in_force": in_force }), || {
        let hash = clean(hash);
        match in_force {
            true => format!("{hash} is in force until the folder is another than now\n"),
            false => format!(
                "proposed; another operator has to want the same within an hour:\njeton policy rollback {hash} --reason …\n"
            ),
        }
    })?;
    Ok(exit::OK)
}

/// Writes the files of one into a folder.
pub async fn fetch(global: &Global, hash: &str, out: &Path) -> Result<Exit, Failure> {
    let files = global.connect().await?.policy_set(hash).await?;
    let broken = |error: std::io::Error| Failure::Broken(format!("`{}`: {error}", out.display()));
    fs::create_dir(out).map_err(broken)?;
    for (name, text) in &files {
        // Why: a name of the broker's must not lead elsewhere.
        if Path::new(name).components().count() != 1 || name.starts_with('.') {
            return Err(Failure::Broken(format!("`{}` is no name of a file", clean(name))));
        }
        jeton_files::create(&out.join(name), text.as_bytes(), Access::Shared).map_err(broken)?;
    }
    let count = files.len();
    global.output().result(&json!({ "files": count }), || {
        format!("{count} files in {}\n", clean(&out.display().to_string()))
    })?;
    Ok(exit::OK)
}
