//! The process that becomes the command: first in namespaces of its own, then with a port there, then the
//! command in its place.
//!
//! It runs before there is any other thread and any other descriptor. Whatever fails, the command is not
//! started.

use std::{
    ffi::OsString,
    fs,
    io::{self, IoSlice, Read},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;
use nix::sched::{CloneFlags, unshare};
use rustix::{
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketFlags, SocketType, netdevice::name_to_index, netlink, recv, sendmsg, sendto,
        socket_with,
    },
    process::{getgid, getuid},
};

use super::{GO, HERE, OWN};
use crate::cli::failure::Failure;

/// What it is called on the command line, which is for `jeton proxy` alone.
pub(super) const NAME: &str = "proxy-inside";

/// A command to become.
#[derive(Args)]
pub struct Inside {
    /// Where the other side waits.
    #[arg(long)]
    meet: PathBuf,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Inside {
    /// Becomes the command.
    ///
    /// # Errors
    /// When it can't be cut off or can't be started.
    pub fn become_it(&self) -> Result<u8, Failure> {
        let broken = |what: &'static str| {
            move |error: io::Error| Failure::Broken(format!("{what}: {error}"))
        };
        close_inherited().map_err(broken("what was inherited can't be closed"))?;
        let stream = UnixStream::connect(&self.meet)
            .map_err(broken("this is for `jeton proxy --alone` alone"))?;
        leave().map_err(|error| refused(&error))?;
        raise_loopback().map_err(|error| refused(&error))?;
        let listener = TcpListener::bind(OWN).map_err(broken("no port in the own network"))?;
        hand_out(stream, &listener).map_err(broken("the other side of `jeton proxy` is gone"))?;
        drop(listener);
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::Invalid("say which command to run".to_owned()))?;
        let error = Command::new(program).args(arguments).exec();
        let words = format!("`{}` can't be started: {error}", program.display());
        if error.kind() == io::ErrorKind::NotFound {
            return Err(Failure::Missing(words));
        }
        Err(Failure::config(words))
    }
}

/// Closes all but the standard ones. Why: whoever started us may have left connections open, and the command
/// would get out by them.
fn close_inherited() -> io::Result<()> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number: Option<i32> = name.to_str().and_then(|name| name.parse().ok());
        numbers.extend(number.filter(|number| *number > 2));
    }
    for number in numbers {
        // Why ignored: one of them was that of the folder, and is closed.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

/// Leaves the machine's network, as the same user.
fn leave() -> io::Result<()> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    // Spec: user_namespaces(7): without this, the group may not be mapped.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1\n"))
}

/// Spec: rtnetlink(7).
fn raise_loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const UP: u32 = 1;
    const LENGTH: u32 = 32;
    // No protocol is NETLINK_ROUTE.
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    let index = name_to_index(&socket, "lo")?;
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]); // sequence and sender
    message.extend([0; 4]); // family, padding and type
    message.extend(index.to_ne_bytes());
    message.extend(UP.to_ne_bytes()); // which flags
    message.extend(UP.to_ne_bytes()); // and which of them change
    sendto(&socket, &message, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 512];
    let (_, count) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let error = answer.get(..count).and_then(|answer| answer.get(16..20));
    let error = error.and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        None => Err(io::Error::other("the kernel's answer is cut")),
    }
}

/// Hands the port to the other side, and waits until it is served.
fn hand_out(mut stream: UnixStream, listener: &TcpListener) -> io::Result<()> {
    let ports = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    if !along.push(SendAncillaryMessage::ScmRights(&ports)) {
        return Err(io::Error::other("there is no room for the port"));
    }
    sendmsg(&stream, &[IoSlice::new(&[HERE])], &mut along, SendFlags::NOSIGNAL)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [GO] { Ok(()) } else { Err(io::Error::other("it does not say go")) }
}

fn refused(error: &io::Error) -> Failure {
    let own = Path::new("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    let more =
        if own.exists() { ", kernel.apparmor_restrict_unprivileged_userns to 0" } else { "" };
    Failure::config(format!(
        "this system does not let you have a network of your own ({error}), so nothing was started; an administrator sets user.max_user_namespaces above 0{more}, or you run it in a container without a network and leave out --alone"
    ))
}
