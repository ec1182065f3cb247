mod unix;

use std::{collections::VecDeque, net::SocketAddr, sync::Mutex};

use rustls::{HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;

use super::*;
use crate::identity::{
    certificate::CertificateError,
    peer::{ClientCertificate, TlsPeer, UnixPeer},
    testing::{Ca, Disk, Holder, after, connect, leaf},
    tls::Reload,
};

const QUICK: Bounds = Bounds {
    proved: 8,
    unproved: 8,
    handshake: Duration::from_millis(200),
    first_request: Duration::from_secs(1),
    idle: Duration::from_secs(1),
    unanswered: 96 * 1024,
};

/// A listener with TLS, and the CA that its clients come from.
struct World {
    ca: Ca,
    disk: Disk,
    tls: Arc<TlsState>,
    incoming: Incoming,
    address: SocketAddr,
}

impl World {
    async fn new() -> Self {
        Self::bounded(Bounds::default()).await
    }

    async fn bounded(bounds: Bounds) -> Self {
        let ca = Ca::new("clients");
        let disk = Disk::new(&ca.pem());
        let tls = disk.load();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = Incoming::tls(listener, Arc::clone(&tls), bounds);
        Self { ca, disk, tls, incoming, address }
    }

    /// Connects and hands over both ends.
    async fn open(&mut self, holder: Option<&Holder>) -> (TlsStream<TcpStream>, Connection) {
        let client = self.disk.connect(self.address, holder).await.unwrap();
        (client, self.accepted().await)
    }

    async fn accepted(&mut self) -> Connection {
        self.incoming.next().await.unwrap().unwrap()
    }

    /// Connects with a certificate that the handshake refuses.
    async fn is_refused(&mut self, holder: &Holder) -> bool {
        match self.disk.connect(self.address, Some(holder)).await {
            Err(_) => true,
            // TLS 1.3 tells the client only when it reads.
            Ok(mut stream) => stream.read(&mut [0]).await.is_err(),
        }
    }
}

trait AsyncStream: AsyncReadExt + AsyncWriteExt + Unpin {}
impl<T: AsyncReadExt + AsyncWriteExt + Unpin> AsyncStream for T {}

fn tls_peer(connection: &Connection) -> &TlsPeer {
    match connection.peer() {
        Peer::Tls(peer) => peer,
        Peer::Unix(_) => panic!("it is TLS"),
    }
}

fn check(connection: &Connection) -> Result<Option<String>, CertificateError> {
    let found = tls_peer(connection).certificate(after(0))?;
    Ok(found.map(|certificate| certificate.id.to_string()))
}

async fn talks(client: &mut impl AsyncStream, server: &mut Connection) -> bool {
    client.write_all(b"ping").await.unwrap();
    let mut heard = [0; 4];
    server.read_exact(&mut heard).await.unwrap();
    server.write_all(&heard).await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut heard).await.unwrap();
    &heard == b"ping"
}

#[tokio::test]
async fn a_spiffe_certificate_names_its_workload_and_none_names_nobody() {
    let mut world = World::new().await;
    let one = world.ca.agent("one");
    let (mut client, mut server) = world.open(Some(&one)).await;
    assert_eq!(check(&server), Ok(Some("spiffe://acme.dev/agent/one".into())));
    assert!(talks(&mut client, &mut server).await);
    let (_client, server) = world.open(None).await;
    assert!(matches!(tls_peer(&server).presented(), ClientCertificate::Absent));
    assert_eq!(check(&server), Ok(None));
}

#[tokio::test]
async fn a_certificate_with_two_names_connects_and_identifies_nobody() {
    let mut world = World::new().await;
    let two = world.ca.sign(&leaf(&["spiffe://acme.dev/a", "spiffe://acme.dev/b"]));
    let (_client, server) = world.open(Some(&two)).await;
    assert_eq!(check(&server), Err(CertificateError::Names(2)));
}

#[tokio::test]
async fn a_certificate_of_a_strange_ca_or_out_of_its_life_is_refused_in_the_handshake() {
    let mut world = World::new().await;
    assert!(world.is_refused(&Ca::new("strangers").agent("one")).await);
    let mut over = leaf(&["spiffe://acme.dev/agent/one"]);
    over.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let over = world.ca.sign(&over);
    assert!(world.is_refused(&over).await);
    let good = world.ca.agent("one");
    let (_client, server) = world.open(Some(&good)).await;
    assert!(check(&server).is_ok());
}

#[tokio::test]
async fn a_swapped_ca_refuses_open_connections_of_the_old_one_and_drops_none() {
    let mut world = World::new().await;
    let (old, new_ca) = (world.ca.agent("old"), Ca::new("new"));
    let new = new_ca.agent("new");
    assert!(world.is_refused(&new).await);
    let (mut old_client, mut old_server) = world.open(Some(&old)).await;
    let (mut free_client, mut free_server) = world.open(None).await;
    assert!(check(&old_server).is_ok());

    world.disk.write("clients.pem", &new_ca.pem());
    assert_eq!(world.tls.reload_if_changed().unwrap(), Reload::Swapped { generation: 2 });

    assert_eq!(check(&old_server), Err(CertificateError::Untrusted));
    let (_client, new_server) = world.open(Some(&new)).await;
    assert_eq!(check(&new_server), Ok(Some("spiffe://acme.dev/agent/new".into())));
    assert!(world.is_refused(&old).await);
    assert!(talks(&mut old_client, &mut old_server).await);
    assert!(talks(&mut free_client, &mut free_server).await);

    let both = format!("{}{}", new_ca.pem(), world.ca.pem());
    world.disk.write("clients.pem", &both);
    world.tls.reload().unwrap();
    assert!(check(&old_server).is_ok() && check(&new_server).is_ok());
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_on_its_open_connection_and_others_are_not() {
    let mut world = World::new().await;
    world.disk.write("clients.crl", &world.ca.revokes(&[]));
    world.tls = world.disk.load();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.address = listener.local_addr().unwrap();
    world.incoming = Incoming::tls(listener, Arc::clone(&world.tls), Bounds::default());
    let holder = |serial: u64| {
        let mut params = leaf(&[&format!("spiffe://acme.dev/agent/{serial}")]);
        params.serial_number = Some(serial.into());
        world.ca.sign(&params)
    };
    let (bad, good) = (holder(7), holder(8));
    let (_bad_client, bad_server) = world.open(Some(&bad)).await;
    let (_good_client, good_server) = world.open(Some(&good)).await;
    assert!(check(&bad_server).is_ok() && check(&good_server).is_ok());

    world.disk.write("clients.crl", &world.ca.revokes(&[7]));
    world.tls.reload_if_changed().unwrap();

    assert_eq!(check(&bad_server), Err(CertificateError::Revoked));
    assert!(check(&good_server).is_ok());
    assert!(world.is_refused(&bad).await);
}

#[tokio::test]
async fn a_certificate_ends_on_an_open_connection() {
    let mut world = World::new().await;
    let one = world.ca.agent("one");
    let (_client, server) = world.open(Some(&one)).await;
    let peer = tls_peer(&server);
    assert!(peer.certificate(after(0)).is_ok());
    let year_5000 = jeton_domain::ttl::Timestamp::from_seconds(95_617_584_000);
    assert_eq!(peer.certificate(year_5000).err(), Some(CertificateError::Ended));
}

#[tokio::test]
async fn no_session_is_resumed_and_nothing_before_tls_1_3_is_spoken() {
    let mut world = World::new().await;
    let one = world.ca.agent("one");
    let config = Arc::new(world.disk.client(Some(&one)));
    for _ in 0..2 {
        let mut client = connect(world.address, Arc::clone(&config)).await.unwrap();
        let mut server = world.accepted().await;
        assert!(talks(&mut client, &mut server).await);
        assert_eq!(client.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
    let old = |version: &&&SupportedProtocolVersion| version.version != ProtocolVersion::TLSv1_3;
    for version in rustls::ALL_VERSIONS.iter().filter(old) {
        let config = world.disk.client_of(Some(&one), &[version]);
        assert!(connect(world.address, Arc::new(config)).await.is_err(), "{version:?}");
    }
}

#[tokio::test]
async fn a_slow_handshake_is_cut_and_holds_up_nobody() {
    let mut world = World::bounded(QUICK).await;
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    let good = world.ca.agent("one");
    let (_client, server) = world.open(Some(&good)).await;
    assert!(check(&server).is_ok());
    let closed = timeout(QUICK.handshake * 10, slow.read(&mut [0])).await;
    assert_eq!(closed.unwrap().unwrap(), 0, "closed by the server");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_and_one_that_spoke_is_not() {
    let mut world = World::bounded(QUICK).await;
    let (_silent, mut server) = world.open(None).await;
    let error = server.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let (mut client, mut server) = world.open(None).await;
    assert!(talks(&mut client, &mut server).await);
    let silence = timeout(QUICK.handshake * 2, server.read(&mut [0; 8])).await;
    assert!(silence.is_err(), "it may be idle afterwards");
}

/// What the server reads last on a connection.
async fn ends_with(server: &mut Connection) -> io::ErrorKind {
    let ended = timeout(Duration::from_secs(10), server.read(&mut [0; 8])).await;
    ended.unwrap().unwrap_err().kind()
}

#[tokio::test]
async fn a_client_that_makes_no_request_is_closed_unless_it_proved_an_identity() {
    let mut world = World::bounded(QUICK).await;
    let (mut client, mut server) = world.open(None).await;
    assert!(talks(&mut client, &mut server).await, "bytes are no request");
    assert_eq!(ends_with(&mut server).await, io::ErrorKind::TimedOut);

    let (mut client, mut server) = world.open(None).await;
    assert!(talks(&mut client, &mut server).await);
    let request = server.peer().begin().unwrap();
    let open = timeout(QUICK.first_request * 3, server.read(&mut [0; 8])).await;
    assert!(open.is_err(), "a request is under way");
    drop(request);
    assert_eq!(ends_with(&mut server).await, io::ErrorKind::TimedOut);

    let one = world.ca.agent("one");
    let (mut client, mut server) = world.open(Some(&one)).await;
    assert!(talks(&mut client, &mut server).await);
    let open = timeout(QUICK.first_request * 3, server.read(&mut [0; 8])).await;
    assert!(open.is_err(), "it may be idle");
}

#[tokio::test]
async fn of_too_many_connections_the_oldest_without_an_identity_is_closed() {
    let bounds = Bounds { proved: 8, unproved: 4, ..Bounds::default() };
    let mut world = World::bounded(bounds).await;
    let one = world.ca.agent("one");
    let (_client, mut proved) = world.open(Some(&one)).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(world.open(None).await);
    }
    // One address may have half of them, so two of the four are gone.
    for (_, server) in &mut open[..2] {
        assert_eq!(ends_with(server).await, io::ErrorKind::ConnectionAborted);
    }
    let (client, server) = &mut open[2];
    assert!(talks(client, server).await);
    let short = timeout(Duration::from_millis(100), proved.read(&mut [0; 8])).await;
    assert!(short.is_err(), "the one with an identity stays");
}

#[tokio::test]
async fn a_token_that_was_good_keeps_its_connection() {
    let bounds = Bounds { proved: 8, unproved: 4, ..Bounds::default() };
    let mut world = World::bounded(bounds).await;
    let (mut client, mut server) = world.open(None).await;
    let ana = jeton_domain::principal::PrincipalId::parse("ana@acme.dev").unwrap();
    server.peer().prove(&ana);
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(world.open(None).await);
    }
    assert!(talks(&mut client, &mut server).await);
}

#[tokio::test]
async fn the_listener_outlives_errors_of_accept_and_ends_with_its_reader() {
    struct Faulty(
        Mutex<VecDeque<io::Result<UnixStream>>>,
        #[expect(dead_code, reason = "counts who holds the door")] Arc<()>,
    );
    impl Door for Faulty {
        type Raw = UnixStream;
        async fn accept(&self) -> io::Result<UnixStream> {
            let next = self.0.lock().unwrap().pop_front();
            match next {
                Some(next) => next,
                None => std::future::pending().await,
            }
        }
        fn subject(&self, _raw: &UnixStream) -> io::Result<SlotHolder> {
            Ok(SlotHolder::user(1))
        }
        async fn greet(
            &self,
            raw: UnixStream,
            _admission: &Arc<Admission>,
        ) -> io::Result<(Transport, Peer)> {
            let peer = UnixPeer { uid: 1, gid: 1, pid: None };
            Ok((Transport::Unix(raw), Peer::Unix(peer)))
        }
    }
    let too_many_files = || Err(io::Error::from_raw_os_error(24));
    let (one, _other) = UnixStream::pair().unwrap();
    let alive = Arc::new(());
    let answers = VecDeque::from([too_many_files(), too_many_files(), too_many_files(), Ok(one)]);
    let door = Faulty(Mutex::new(answers), Arc::clone(&alive));
    let mut incoming = Incoming::through(door, QUICK);
    assert!(incoming.next().await.unwrap().is_ok());
    drop(incoming);
    let gone = async {
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(Duration::from_secs(5), gone).await.is_ok());
}
