//! `jeton git setup`: tells git to ask `jeton` for one server.

use std::{env, process};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Global, ask,
    exit::{self, Exit},
    failure::Failure,
    git_credential::Repositories,
    git_protocol::Site,
    output::note,
    shell, text,
};

/// What to do with git.
#[derive(Subcommand)]
pub enum Command {
    /// Make git ask jeton for credentials of one server, and no one else.
    Setup(Setup),
}

/// What to set up.
#[derive(Args)]
pub struct Setup {
    #[command(flatten)]
    repositories: Repositories,
    /// Send everything through the gateway at this address, as https://host:port: git gets no credential of
    /// the server at all.
    #[arg(long, value_parser = super::git_credential::site, value_name = "URL")]
    through_gateway: Option<Site>,
    #[command(flatten)]
    place: Place,
}

/// Where the configuration goes.
#[derive(Args)]
#[group(multiple = false)]
struct Place {
    /// Into the configuration of your user.
    #[arg(long)]
    global: bool,
    /// Into the configuration of the repository around you; this is what happens without it too.
    #[arg(long)]
    local: bool,
    /// Nowhere: only print the commands.
    #[arg(long)]
    print: bool,
}

/// Does it.
///
/// # Errors
/// When the scope would be none, or git refuses.
pub fn run(global: &Global, Command::Setup(setup): &Command) -> Result<Exit, Failure> {
    let Setup { repositories, place, through_gateway: gateway } = setup;
    let gateway = gateway.as_ref();
    // Why here: a scope that is none is better told now than at each `git fetch`.
    ask::scope(&repositories.scope("owner/repo"))?;
    let exe = env::current_exe().map_err(|error| {
        Failure::Broken(format!("the path of this program is unknown: {error}"))
    })?;
    let (exe, words) = (text(exe.into_os_string())?, global.words()?);
    let place_word = if place.global { "--global" } else { "--local" };
    let commands = match gateway {
        None => {
            let helper = helper(&exe, &words, repositories);
            commands(place_word, repositories, &helper).to_vec()
        }
        Some(gateway) => through(place_word, global, gateway, repositories, &exe, &words)?,
    };
    if repositories.url.is_clear() && gateway.is_none() {
        let url = &repositories.url;
        note(&format!(
            "jeton: {url} is not encrypted; whoever is on the way reads the credentials\n"
        ));
    }
    if !place.print {
        commands.iter().try_for_each(|words| git(words))?;
    }
    let lines: Vec<String> =
        commands.iter().map(|words| shell::join(words.iter().map(String::as_str))).collect();
    global.output().result(&json!({ "commands": lines, "done": !place.print }), || match place
        .print
    {
        true => lines.iter().map(|line| format!("{line}\n")).collect(),
        false => match gateway {
            None => format!("git asks jeton for credentials of {}\n", repositories.url),
            Some(gateway) => format!("git reaches {} through {gateway}\n", repositories.url),
        },
    })?;
    Ok(exit::OK)
}

/// The helper as git hands it to a shell, which adds the operation at the end.
fn helper(exe: &str, global: &[String], repositories: &Repositories) -> String {
    let url = repositories.url.to_string();
    let ttl = repositories.ttl.as_secs().to_string();
    let mut words = vec![exe];
    words.extend(global.iter().map(String::as_str));
    words.extend(["git-credential", "--url", &url, "--upstream", &repositories.upstream]);
    words.extend(["--actions", &repositories.actions, "--ttl", &ttl]);
    if let Some(pattern) = &repositories.git_ref {
        words.extend(["--ref", pattern]);
    }
    format!("!{}", shell::join(words))
}

fn commands(place: &str, repositories: &Repositories, helper: &str) -> [Vec<String>; 3] {
    let key = |name: &str| format!("credential.{}.{name}", repositories.url);
    let config = |words: [&str; 3]| {
        ["git", "config", place].into_iter().chain(words).map(str::to_owned).collect()
    };
    [
        // Why: an empty helper makes git forget those before it; else they would be asked first and
        // be told to store what we answer.
        config(["--replace-all", &key("helper"), ""]),
        config(["--add", &key("helper"), helper]),
        config(["--replace-all", &key("useHttpPath"), "true"]),
    ]
}

/// What sends git through the gateway: another address, the session's own proofs for that, and nothing else.
fn through(
    place: &str,
    global: &Global,
    gateway: &Site,
    repositories: &Repositories,
    exe: &str,
    words: &[String],
) -> Result<Vec<Vec<String>>, Failure> {
    let config = |words: [&str; 3]| {
        ["git", "config", place].into_iter().chain(words).map(str::to_owned).collect::<Vec<_>>()
    };
    let helper = {
        let url = gateway.to_string();
        let own = words.iter().map(String::as_str);
        let helper = [exe].into_iter().chain(own).chain(["git-handle", "--url", &url]);
        format!("!{}", shell::join(helper))
    };
    let address = format!("url.{gateway}/git/{}/.insteadOf", repositories.upstream);
    let key = format!("credential.{gateway}.helper");
    let mut commands = vec![
        config(["--replace-all", &address, &format!("{}/", repositories.url)]),
        config(["--replace-all", &key, ""]),
        config(["--add", &key, &helper]),
    ];
    let settings = global.settings();
    let files =
        [("sslCAInfo", settings.ca), ("sslCert", settings.certificate), ("sslKey", settings.key)];
    for (name, file) in files {
        let Some(file) = file else { continue };
        let path = std::path::absolute(&file)
            .map_err(|error| Failure::config(format!("`{}`: {error}", file.display())))?;
        let name = format!("http.{gateway}/.{name}");
        commands.push(config(["--replace-all", &name, &text(path.into_os_string())?]));
    }
    Ok(commands)
}

fn git(words: &[String]) -> Result<(), Failure> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| Failure::Broken("there is no command".to_owned()))?;
    let ended = process::Command::new(program)
        .args(arguments)
        .status()
        .map_err(|error| Failure::config(format!("git can't be started: {error}")))?;
    if ended.success() {
        return Ok(());
    }
    let words = shell::join(words.iter().map(String::as_str));
    Err(Failure::config(format!("git refused `{words}`; is this a repository?")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::git_protocol::Site;
    use std::time::Duration;

    fn repositories() -> Repositories {
        Repositories {
            url: Site::parse("http://127.0.0.1:8080").unwrap(),
            upstream: "git".to_owned(),
            actions: "contents:write".to_owned(),
            git_ref: Some("agent/*".to_owned()),
            ttl: Duration::from_secs(300),
        }
    }

    #[test]
    fn the_helper_is_quoted_for_the_shell_that_git_runs() {
        let global = ["--ca".to_owned(), "/a b/ca's.pem".to_owned()];
        assert_eq!(
            helper("/opt/my tools/jeton", &global, &repositories()),
            r"!'/opt/my tools/jeton' --ca '/a b/ca'\''s.pem' git-credential --url http://127.0.0.1:8080 --upstream git --actions contents:write --ttl 300 --ref 'agent/*'"
        );
    }

    #[test]
    fn other_helpers_are_forgotten_first_and_the_path_is_told() {
        let lines = commands("--local", &repositories(), "!x");
        let lines = lines.map(|words| words.join(" "));
        assert_eq!(
            lines,
            [
                "git config --local --replace-all credential.http://127.0.0.1:8080.helper ",
                "git config --local --add credential.http://127.0.0.1:8080.helper !x",
                "git config --local --replace-all credential.http://127.0.0.1:8080.useHttpPath true",
            ]
        );
    }

    #[test]
    fn a_real_git_reads_back_what_was_set_and_twice_is_like_once() {
        let folder = tempfile::tempdir().unwrap();
        let run = |words: &[String]| {
            let (program, arguments) = words.split_first().unwrap();
            let mut git = process::Command::new(program);
            git.args(arguments).current_dir(folder.path()).output().unwrap()
        };
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(run(&words("git init -q")).status.success());
        let helper = helper("/opt/my tools/jeton", &[], &repositories());
        for _ in 0..2 {
            for command in commands("--local", &repositories(), &helper) {
                assert!(run(&command).status.success(), "{command:?}");
            }
        }
        let read = run(&words("git config --get-all credential.http://127.0.0.1:8080.helper"));
        assert_eq!(String::from_utf8(read.stdout).unwrap(), format!("\n{helper}\n"));
    }
}
