//! `jeton whoami` and `jeton introspect`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use jeton_client::{Introspection, Secret, WhoAmI, now_millis};

use super::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::list,
    show, span,
};

/// Largest credential, in bytes.
const CREDENTIAL: u64 = 64 * 1024;

/// A credential to ask about.
#[derive(Args)]
pub struct Introspect {
    /// The file that holds it, or - for standard input.
    #[arg(long, value_name = "FILE")]
    credential_file: PathBuf,
    /// Who is shown the credential.
    #[arg(long)]
    audience: String,
}

/// Tells who the broker takes the caller for.
///
/// # Errors
/// When the broker can't be reached or does not know the caller.
pub async fn am_i(global: &Global) -> Result<Exit, Failure> {
    let who = global.connect().await?.who_am_i().await?;
    global.output().result(&who, || person(&who))?;
    Ok(exit::OK)
}

/// Tells what a credential is good for.
///
/// # Errors
/// When it can't be read or the broker refuses.
pub async fn introspect(global: &Global, asked: &Introspect) -> Result<Exit, Failure> {
    let credential = read(&asked.credential_file)?;
    let found = global.connect().await?.introspect(&credential, &asked.audience).await?;
    global.output().result(&found, || introspection(&found))?;
    Ok(exit::OK)
}

fn person(who: &WhoAmI) -> String {
    let mut text = list([
        ("you are", who.principal.clone()),
        ("kind", who.kind.clone()),
        ("known by", who.authenticated_by.clone()),
        ("roles", who.roles.join(", ")),
    ]);
    if let Some(session) = &who.session {
        text.push('\n');
        text.push_str(&show::session(session));
    }
    text
}

fn introspection(found: &Introspection) -> String {
    if !found.active {
        return "not active\n".to_owned();
    }
    let now = now_millis();
    list([
        ("active", "yes".to_owned()),
        ("grant", found.grant.clone()),
        ("session", found.session.clone()),
        ("agent", found.agent.clone()),
        ("person", found.person.clone()),
        ("scope", found.scope.clone()),
        ("expires", found.expires_at.map(|time| span::relative(now, time)).unwrap_or_default()),
        ("bound to", found.confirmation.clone()),
    ])
}

fn read(path: &Path) -> Result<Secret, Failure> {
    let name = path.display();
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => io::stdin().lock().take(CREDENTIAL + 1).read_to_string(&mut text),
        false => {
            File::open(path).and_then(|file| file.take(CREDENTIAL + 1).read_to_string(&mut text))
        }
    };
    match read {
        Err(error) => Err(Failure::config(format!("`{name}` can't be read: {error}"))),
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= CREDENTIAL) => {
            // Why: editors and `echo` end a file with a line feed that is no part of it.
            text.truncate(text.trim_end().len());
            Ok(Secret::new(text))
        }
        Ok(_) => Err(Failure::Invalid(format!("`{name}` is larger than {CREDENTIAL} bytes"))),
    }
}
