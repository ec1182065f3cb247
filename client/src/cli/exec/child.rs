//! The command as a child process: what it inherits, the signals that it gets, how it ends.

use std::{
    ffi::OsStr,
    io,
    io::IsTerminal,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, kill_process},
};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind},
};

use crate::cli::{exit, failure::Failure};

/// Most that a fresh pipe takes without a reader.
const PIPE: usize = 4096;

/// The signals that are passed on.
pub struct Signals {
    int: unix::Signal,
    term: unix::Signal,
    hup: unix::Signal,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub enum Heard {
    /// SIGINT.
    Int,
    /// SIGTERM.
    Term,
    /// SIGHUP.
    Hup,
}

impl Signals {
    /// Takes them from now on; they no longer end this process.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn listen() -> Result<Self, Failure> {
        let hear = |kind| {
            unix::signal(kind)
                .map_err(|error| Failure::Broken(format!("signals can't be heard: {error}")))
        };
        Ok(Self {
            int: hear(SignalKind::interrupt())?,
            term: hear(SignalKind::terminate())?,
            hup: hear(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.int.recv() => Heard::Int,
            _ = self.term.recv() => Heard::Term,
            _ = self.hup.recv() => Heard::Hup,
        }
    }
}

impl Heard {
    /// The exit code of a process that it ended.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        killed_by(self.signal().as_raw())
    }

    fn signal(self) -> Signal {
        match self {
            Self::Int => Signal::INT,
            Self::Term => Signal::TERM,
            Self::Hup => Signal::HUP,
        }
    }

    /// Passes it on to the command.
    fn pass_on(self, child: &Child) {
        // Why: `^C` reaches the command from the terminal too, and many programs take a second one
        // as "drop everything".
        let from_terminal = matches!(self, Self::Int) && io::stdin().is_terminal();
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| !from_terminal) {
            // Why ignored: it has just ended, which `wait` tells next.
            let _ = kill_process(pid, self.signal());
        }
    }
}

/// A pipe that hands a credential to a child that is yet to start.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// Opens one. Early, while the numbers are small: in `<&$JETON_FD` many shells take one digit.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn open() -> Result<Self, Failure> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| Failure::Broken(format!("there is no pipe: {error}")))?;
        Ok(Self { read, write })
    }

    /// Puts the secret in and starts the command, which inherits the end to read; this process lets
    /// go of both ends, so that the command reads to an end.
    ///
    /// # Errors
    /// When the secret does not fit without a reader, and as [`start`].
    pub fn start(
        self,
        secret: &str,
        command: &mut Command,
        program: &OsStr,
    ) -> Result<Child, Failure> {
        if secret.len() > PIPE {
            let words =
                format!("the credential is longer than {PIPE} bytes; use --credential-file");
            return Err(Failure::Invalid(words));
        }
        let written = rustix::io::write(&self.write, secret.as_bytes());
        if written != Ok(secret.len()) {
            return Err(Failure::Broken("the pipe does not take the credential".to_owned()));
        }
        command.env("JETON_FD", self.number());
        fcntl_setfd(&self.read, FdFlags::empty())
            .map_err(|error| Failure::Broken(format!("the pipe can't be handed on: {error}")))?;
        start(command, program)
    }

    /// The descriptor's number, in this process and in the child.
    fn number(&self) -> String {
        self.read.as_raw_fd().to_string()
    }
}

/// Starts the command.
///
/// # Errors
/// When it is not there or can't be run.
pub fn start(command: &mut Command, program: &OsStr) -> Result<Child, Failure> {
    command.spawn().map_err(|error| {
        let words = format!("`{}` can't be started: {error}", program.display());
        if error.kind() == io::ErrorKind::NotFound {
            Failure::Missing(words)
        } else {
            Failure::config(words)
        }
    })
}

/// Waits for the end, passes signals on and meanwhile keeps the credential fresh.
///
/// # Errors
/// When the system does not tell how the command ended.
pub async fn wait(
    mut child: Child,
    mut signals: Signals,
    fresh: impl Future<Output = ()>,
) -> Result<u8, Failure> {
    tokio::pin!(fresh);
    let mut renewing = true;
    loop {
        tokio::select! {
            ended = child.wait() => {
                return ended
                    .map(exit_code)
                    .map_err(|error| Failure::Broken(format!("the command is lost: {error}")));
            }
            heard = signals.next() => heard.pass_on(&child),
            () = &mut fresh, if renewing => renewing = false,
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(exit::INTERNAL.code),
        (None, Some(signal)) => killed_by(signal),
        (None, None) => exit::INTERNAL.code,
    }
}

fn killed_by(signal: i32) -> u8 {
    u8::try_from(signal)
        .ok()
        .and_then(|signal| signal.checked_add(128))
        .unwrap_or(exit::INTERNAL.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    /// Why: a signal of one test reaches the whole process, and so the children of the other tests.
    fn no_signals() -> Signals {
        let quiet = || unix::signal(SignalKind::window_change()).unwrap();
        Signals { int: quiet(), term: quiet(), hup: quiet() }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    async fn ends(script: &str) -> u8 {
        let child = start(&mut shell(script), OsStr::new("sh")).ok().unwrap();
        wait(child, no_signals(), ready(())).await.ok().unwrap()
    }

    #[tokio::test]
    async fn the_exit_code_is_that_of_the_command() {
        assert_eq!(ends("exit 0").await, 0);
        assert_eq!(ends("exit 42").await, 42);
        assert_eq!(ends("kill -TERM $$").await, 143);
        assert_eq!(ends("kill -KILL $$").await, 137);
    }

    #[tokio::test]
    async fn a_signal_reaches_the_command_and_its_end_is_waited_for() {
        // The shell tells by its output that its trap stands.
        let mut command = shell("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done");
        command.stdout(std::process::Stdio::piped());
        let mut child = start(&mut command, OsStr::new("sh")).ok().unwrap();
        let signals = Signals::listen().ok().unwrap();
        let mut line = [0; 6];
        tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut line)
            .await
            .unwrap();
        kill_process(rustix::process::getpid(), Signal::TERM).unwrap();
        assert_eq!(wait(child, signals, pending()).await.ok().unwrap(), 9);
    }

    #[tokio::test]
    async fn the_command_reads_the_credential_from_the_descriptor() {
        let mut command = shell("test \"$(cat /dev/fd/$JETON_FD)\" = s3cret && exit 7");
        let pipe = Pipe::open().ok().unwrap();
        let child = pipe.start("s3cret", &mut command, OsStr::new("sh")).ok().unwrap();
        assert_eq!(wait(child, no_signals(), ready(())).await.ok().unwrap(), 7);
    }

    #[tokio::test]
    async fn a_credential_that_would_block_the_pipe_is_refused() {
        let start = |length: usize| {
            Pipe::open().ok().unwrap().start(
                &"a".repeat(length),
                &mut shell("exit"),
                OsStr::new("sh"),
            )
        };
        assert!(start(PIPE).is_ok());
        assert_eq!(start(PIPE + 1).err().unwrap().exit(), exit::INVALID);
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_told_apart() {
        let mut command = Command::new("/nonexistent/cmd");
        let failure = start(&mut command, OsStr::new("/nonexistent/cmd")).err().unwrap();
        assert_eq!(failure.exit(), exit::NOT_FOUND);
    }
}
