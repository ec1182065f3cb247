//! `jeton session`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use jeton_client::{
    Binding, Client, DpopKey, OpenSession, OpenedSession, PageOf, ScopeBound, session_file,
};
use serde_json::json;

use super::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::{Output, clean, code, note},
    shell, show, span,
};

/// What to do with sessions.
#[derive(Subcommand)]
pub enum Command {
    /// Open a session for an agent. Its handle is told once.
    Open(Open),
    /// Tell one session.
    Show {
        /// The session; without it, the one that you call with.
        id: Option<String>,
    },
    /// List sessions, newest first.
    List(List),
    /// Close a session and end all of its grants.
    Close {
        /// The session; without it, the one that you call with.
        id: Option<String>,
        /// Why, for the record.
        #[arg(long, default_value = "closed with jeton")]
        reason: String,
    },
}

/// A session to open.
#[derive(Args)]
pub struct Open {
    /// The agent that runs.
    #[arg(long)]
    agent: String,
    /// The person it acts for.
    #[arg(long)]
    person: Option<String>,
    /// What it is to do.
    #[arg(long, default_value = "")]
    task: String,
    /// The most that it may ask for, such as 'github:acme/* contents:read'; may be repeated.
    #[arg(long, required = true, value_name = "SCOPE")]
    allow: Vec<String>,
    /// How many grants.
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_grants: u32,
    /// The longest life of one grant.
    #[arg(long, default_value = "15m", value_parser = span::parse, value_name = "SPAN")]
    max_grant_ttl: Duration,
    /// How long the session lasts.
    #[arg(long, default_value = "8h", value_parser = span::parse, value_name = "SPAN")]
    ttl: Duration,
    #[command(flatten)]
    bind: Bind,
    /// Open it below your own session: it gets a part of what that has, and ends with it.
    #[arg(long)]
    delegate: bool,
    /// Write a session file (mode 0600) for the agent instead of showing the handle.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What the handle is bound to.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Bind {
    /// Whoever holds the private key of this certificate.
    #[arg(long, value_name = "FILE.pem")]
    bind_certificate: Option<PathBuf>,
    /// A new key that is written into the session file.
    #[arg(long, requires = "out")]
    bind_new_key: bool,
    /// Processes of this user on the broker's host.
    #[arg(long, value_name = "UID")]
    bind_uid: Option<u32>,
    /// Nothing: whoever has the handle has the session. Only where the broker allows it.
    #[arg(long)]
    bearer: bool,
}

/// Which sessions to list.
#[derive(Args)]
pub struct List {
    /// Of one agent.
    #[arg(long)]
    agent: Option<String>,
    /// In one state: open, closed or expired.
    #[arg(long)]
    state: Option<String>,
    /// Rows.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Where the list before ended.
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,
}

/// Does it.
///
/// # Errors
/// When the broker refuses or can't be reached.
pub async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let output = global.output();
    match command {
        Command::Open(asked) => open(global, asked).await?,
        Command::Show { id } => {
            let client = global.connect().await?;
            let id = own_or(&client, id).await?;
            let session = client.get_session(&id).await?;
            output.result(&session, || show::session(&session))?;
        }
        Command::List(List { agent, state, limit, after }) => {
            let client = global.connect().await?;
            let page = PageOf { size: limit, token: after };
            let page = client.list_sessions(agent.as_deref(), state.as_deref(), page).await?;
            output.result(&page, || show::sessions(&page))?;
        }
        Command::Close { id, reason } => {
            let client = global.connect().await?;
            let id = own_or(&client, id).await?;
            let (session, grants) = client.close_session(&id, &reason).await?;
            output.result(&json!({ "session": session, "grants_ended": grants }), || {
                format!("{} is closed; {grants} grants ended\n", code(&session.id))
            })?;
        }
    }
    Ok(exit::OK)
}

async fn open(global: &Global, asked: Open) -> Result<(), Failure> {
    let allow = asked
        .allow
        .iter()
        .map(|text| ScopeBound::parse(text).map_err(|error| Failure::Invalid(error.to_string())));
    let mut opening = OpenSession {
        agent: asked.agent,
        person: asked.person,
        task: asked.task,
        allow: allow.collect::<Result<_, _>>()?,
        max_grants: asked.max_grants,
        max_grant_ttl: asked.max_grant_ttl,
        ttl: asked.ttl,
        binding: binding(asked.bind)?,
        parent: None,
    };
    if let Some(out) = asked.out.as_ref().filter(|out| out.symlink_metadata().is_ok()) {
        // Why now: the session would be open before the file fails.
        return Err(Failure::config(format!("`{}` is there already", out.display())));
    }
    let client = global.connect().await?;
    if asked.delegate {
        opening.parent = Some(own_or(&client, None).await?);
    }
    let opened = client.open_session(&opening).await?;
    match asked.out {
        None => tell_handle(global.output(), &opened),
        Some(out) => {
            let key = match &opening.binding {
                Binding::Key(key) => Some(key),
                Binding::CertificateFile(_) | Binding::UnixUid(_) | Binding::Bearer => None,
            };
            if let Err(error) = session_file::write(&out, &opened, key) {
                close_unused(&client, &opened).await;
                return Err(error.into());
            }
            let file = out.display().to_string();
            global.output().result(
                &json!({ "session": opened.session, "session_file": file }),
                || {
                    let file = shell::quote(&clean(&file));
                    format!(
                        "{}\nexport JETON_SESSION_FILE={file}\n",
                        show::session(&opened.session)
                    )
                },
            )
        }
    }
}

fn binding(bind: Bind) -> Result<Binding, Failure> {
    Ok(match bind {
        Bind { bind_certificate: Some(file), .. } => Binding::CertificateFile(file),
        Bind { bind_uid: Some(uid), .. } => Binding::UnixUid(uid),
        Bind { bind_new_key: true, .. } => Binding::Key(DpopKey::generate()?),
        Bind { .. } => Binding::Bearer,
    })
}

fn tell_handle(output: Output, opened: &OpenedSession) -> Result<(), Failure> {
    let handle = opened.handle.expose();
    let value = json!({ "session": opened.session, "handle": handle });
    let text = || {
        format!(
            "{}\nThe handle is told once; it goes into JETON_SESSION:\n",
            show::session(&opened.session)
        )
    };
    output.secret(&value, text, handle)
}

/// Closes a session that nobody can use.
async fn close_unused(client: &Client, opened: &OpenedSession) {
    let id = &opened.session.id;
    if let Err(error) = client.close_session(id, "its session file could not be written").await {
        let words = clean(&error.to_string());
        note(&format!("jeton: session {} stays open until it expires: {words}\n", code(id)));
    }
}

/// The session that was named, or else the caller's own.
async fn own_or(client: &Client, id: Option<String>) -> Result<String, Failure> {
    if let Some(id) = id {
        return Ok(id);
    }
    let session = client.who_am_i().await?.session;
    session.map(|session| session.id).ok_or_else(|| {
        Failure::config(
            "no session is named; give its id, or set JETON_SESSION_FILE or JETON_SESSION",
        )
    })
}
