//! Whose process is at the other end of a loopback connection.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// `TCP_ESTABLISHED`.
const ESTABLISHED: &str = "01";
/// What is read of the table at once: the kernel gives no more than a page.
const PAGE: usize = 4096;

/// The kernel's table of the connections of one network namespace, with user ids as this process sees them.
pub(super) struct Table(Mutex<File>);

impl Table {
    /// That of this process.
    pub fn own() -> io::Result<Self> {
        Self::at(Path::new("/proc/self/net/tcp"))
    }

    /// That of the namespace that another process is in at this moment. It stays that one, whatever becomes of
    /// the process.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::at(Path::new(&format!("/proc/{pid}/net/tcp")))
    }

    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(File::open(path)?)))
    }

    /// Tells whether the other end of a connection belongs to this process's user. What can't be found out is
    /// nobody's.
    pub fn is_mine(&self, peer: SocketAddr, own: SocketAddr) -> bool {
        let uid = rustix::process::getuid().as_raw();
        self.read().is_ok_and(|table| owner(&table, peer, own) == Some(uid))
    }

    fn read(&self) -> io::Result<String> {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut table, mut page) = (Vec::new(), [0; PAGE]);
        loop {
            let place = u64::try_from(table.len()).unwrap_or(u64::MAX);
            let count = file.read_at(&mut page, place)?;
            let Some(read) = page.get(..count).filter(|read| !read.is_empty()) else { break };
            table.extend_from_slice(read);
        }
        String::from_utf8(table).map_err(io::Error::other)
    }
}

/// Spec: proc_pid_net(5): `sl local_address rem_address st … uid …`, addresses in hex, as the host has them in
/// memory.
fn owner(table: &str, peer: SocketAddr, own: SocketAddr) -> Option<u32> {
    let (local, remote) = (written(peer)?, written(own)?);
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let ends = (words.next()?, words.next()?);
        if ends != (local.as_str(), remote.as_str()) {
            return None;
        }
        // Why: of a connection whose owner is gone the kernel tells user 0, and no inode.
        if words.next()? != ESTABLISHED {
            return None;
        }
        let uid = words.nth(3)?.parse().ok()?;
        let inode: u64 = words.nth(1)?.parse().ok()?;
        (inode > 0).then_some(uid)
    })
}

fn written(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    if *address.ip() != Ipv4Addr::LOCALHOST {
        return None;
    }
    let ip = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_the_other_end_is_found_and_nobody_elses() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
             0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     7        0 11 1\n\
             1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 12 1\n\
             2: 0100007F:C352 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 3\n\
             3: 0100007F:C353 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 0 3\n";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(owner(table, at(50_000), at(8080)), Some(1000));
        assert_eq!(owner(table, at(8080), at(50_000)), Some(7));
        for gone in [50_001, 50_002, 50_003] {
            assert_eq!(owner(table, at(gone), at(8080)), None);
        }
        assert_eq!(owner(table, SocketAddr::from(([10, 0, 0, 1], 50_000)), at(8080)), None);
    }

    #[test]
    fn a_real_connection_of_this_process_is_mine() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(own).unwrap();
        let (_kept, peer) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
        let table = Table::own().unwrap();
        for _ in 0..3 {
            assert!(table.is_mine(peer, own));
            assert!(!table.is_mine(SocketAddr::from(([127, 0, 0, 1], 1)), own));
        }
    }
}
