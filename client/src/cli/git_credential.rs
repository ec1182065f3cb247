//! `jeton git-credential`: git's credential helper.
//!
//! Git reads only standard output, so `--json` changes nothing here. A refusal tells git to stop
//! (`quit=1`): an agent must not hang at a password prompt.

use std::{
    io::{self, Read},
    time::Duration,
};

use clap::Args;
use jeton_client::{Ask, IssuedSecret};
use zeroize::Zeroizing;

use super::{
    Global, ask,
    exit::{self, Exit},
    failure::Failure,
    git_protocol::{Aim, Answer, BYTES, Question, Site},
    output::{note, raw},
    shell, span,
};

/// What the helper answers for.
#[derive(Args)]
pub struct GitCredential {
    #[command(flatten)]
    pub(super) repositories: Repositories,
    /// get, store or erase, as git says it; anything else is left alone.
    operation: String,
}

/// Which repositories, and what may be done there.
#[derive(Args)]
pub struct Repositories {
    /// The server, as https://host or http://host:port; no other is answered.
    #[arg(long, value_parser = site)]
    pub url: Site,
    /// The broker's name for it.
    #[arg(long, value_name = "NAME")]
    pub upstream: String,
    /// What git may do there.
    #[arg(long, default_value = "contents:write", value_name = "ACTIONS")]
    pub actions: String,
    /// Only on refs like this one, such as 'agent/*'.
    #[arg(long = "ref", value_name = "PATTERN")]
    pub git_ref: Option<String>,
    /// How long a credential lives.
    #[arg(long, default_value = "5m", value_parser = span::parse, value_name = "SPAN")]
    pub ttl: Duration,
}

impl Repositories {
    /// The scope for one of them.
    pub(super) fn scope(&self, repository: &str) -> String {
        let only =
            self.git_ref.as_ref().map(|pattern| format!(" ref={pattern}")).unwrap_or_default();
        format!("{}:{repository} {}{only}", self.upstream, self.actions)
    }

    /// The command that sends git's calls for them through the gateway instead.
    fn set_up_through(&self, gateway: Option<&str>) -> String {
        let url = self.url.to_string();
        let words = ["jeton", "git", "setup", "--url", &url, "--upstream", &self.upstream];
        let gateway = gateway.map_or_else(|| "GATEWAY".to_owned(), shell::quote);
        format!("{} --through-gateway {gateway}", shell::join(words))
    }
}

/// Answers git. Never fails: what goes wrong is told on standard error.
pub async fn run(global: &Global, helper: &GitCredential) -> Exit {
    let answered = match helper.operation.as_str() {
        "get" => get(global, &helper.repositories).await,
        "store" | "erase" => question().map(|_| ()),
        // Spec: gitcredentials(7): helpers ignore operations that they do not know.
        _ => Ok(()),
    };
    match answered {
        Ok(()) => exit::OK,
        Err(failure) => {
            note(&failure.text());
            failure.exit()
        }
    }
}

async fn get(global: &Global, repositories: &Repositories) -> Result<(), Failure> {
    let bytes = question()?;
    let question = Question::parse(&bytes)
        .map_err(|odd| Failure::Invalid(format!("git's question is not understood: {odd}")))?;
    match question.aims_at(&repositories.url) {
        Aim::Elsewhere => Ok(()),
        Aim::NoPath => Err(Failure::config(format!(
            "git told no repository; set credential.useHttpPath=true: `git config credential.{}.useHttpPath true`",
            repositories.url
        ))),
        Aim::OddPath => Err(Failure::Invalid("the path is not `owner/repo`".to_owned())),
        Aim::Repository(name) => {
            let answer = answer(global, repositories, &name, question.authtype).await;
            match answer {
                Ok(text) => raw(text.as_bytes()),
                Err(failure) => {
                    raw(b"quit=1\n")?;
                    Err(failure)
                }
            }
        }
    }
}

async fn answer(
    global: &Global,
    repositories: &Repositories,
    name: &str,
    authtype: bool,
) -> Result<Zeroizing<String>, Failure> {
    let mut asked = Ask::new(ask::scope(&repositories.scope(name))?);
    asked.ttl = Some(repositories.ttl);
    "git".clone_into(&mut asked.reason);
    let client = global.connect().await?;
    let gateway = global.settings().gateway;
    let instead = repositories.set_up_through(gateway.as_deref());
    let held = ask::direct(&client, asked, None, &instead).await?;
    let end = held.issued.expires_at.or(held.grant.expires_at);
    match words(&held.issued, end).text(authtype) {
        Some(text) => Ok(Zeroizing::new(text)),
        None => {
            ask::release(&client, &held.grant.id).await;
            Err(Failure::Broken("the user name does not fit git's protocol".to_owned()))
        }
    }
}

fn words(issued: &IssuedSecret, end: Option<i64>) -> Answer<'_> {
    let username = match issued.username.as_str() {
        "" => "x-access-token",
        username => username,
    };
    // Why: for git GitHub takes its installation tokens as `Basic` alone; its API takes both.
    let bearer = issued.kind == "signed_jwt";
    let expires = end.map(|millis| millis.div_euclid(1000));
    Answer { username, secret: issued.secret.expose(), bearer, expires }
}

/// Reads what git sent, up to one byte more than is understood.
pub(super) fn question() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let most = u64::try_from(BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::new());
    io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Broken(format!("standard input can't be read: {error}")))?;
    Ok(bytes)
}

pub(super) fn site(url: &str) -> Result<Site, String> {
    Site::parse(url)
        .ok_or_else(|| "write https://host or http://host:port, and nothing else".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_client::Secret;

    fn issued(kind: &str, username: &str) -> IssuedSecret {
        let secret = Secret::new("s3cret".to_owned());
        IssuedSecret {
            secret,
            kind: kind.to_owned(),
            username: username.to_owned(),
            expires_at: None,
        }
    }

    #[test]
    fn github_is_told_basic_and_others_bearer() {
        let github = issued("github_installation_token", "");
        let text = words(&github, Some(7_999)).text(true).unwrap();
        assert!(
            text.contains("authtype=Basic\n") && text.ends_with("password_expiry_utc=7\n"),
            "{text}"
        );
        let signed = issued("signed_jwt", "x");
        assert!(
            words(&signed, None)
                .text(true)
                .unwrap()
                .contains("authtype=Bearer\ncredential=s3cret\n")
        );
    }

    #[test]
    fn the_scope_is_just_the_repository_with_its_limits() {
        let mut repositories = Repositories {
            url: Site::parse("http://127.0.0.1:1").unwrap(),
            upstream: "git".to_owned(),
            actions: "contents:write".to_owned(),
            git_ref: None,
            ttl: Duration::from_secs(300),
        };
        assert_eq!(repositories.scope("acme/api"), "git:acme/api contents:write");
        repositories.git_ref = Some("agent/*".to_owned());
        assert_eq!(repositories.scope("acme/api"), "git:acme/api contents:write ref=agent/*");
    }
}
