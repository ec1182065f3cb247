//! `jeton proxy --alone`: from the command's own network only the gateway is reached.

use std::{
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::chown,
            net::{SocketAddr, UnixListener},
        },
    },
    path::Path,
    process::Command,
};

use jeton_tests::{
    broker::program,
    run::{Run, ended, said},
    two_upstreams::{ENVELOPE, TwoUpstreams, Wire},
};

/// Tells of each address whether it can be reached.
const TRY: &str = r#"
import os, socket
for name in os.environ["PORTS"].split():
    try:
        socket.create_connection(("127.0.0.1", int(name)), timeout=3).close()
        print("reached")
    except OSError as error:
        print(type(error).__name__)
for address in ("192.0.2.1", "198.51.100.1"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.connect((address, 53)); s.send(b"x"); print("sent")
    except OSError as error:
        print(os.strerror(error.errno))
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
try:
    s.connect("\0" + os.environ["ABSTRACT"]); print("reached")
except OSError as error:
    print(type(error).__name__)
print(os.getuid(), sorted(line.split(":")[0].strip() for line in list(open("/proc/net/dev"))[2:]))
"#;

/// What is outside.
struct Outside {
    ports: String,
    name: String,
    _held: (TcpListener, UnixListener),
}

impl Outside {
    fn of(scene: &TwoUpstreams) -> Self {
        let port = |name: &str| scene.broker.env(name).rsplit(':').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let ports = format!("{} {} {own}", port("JETON_ENDPOINT"), port("JETON_GATEWAY"));
        let name = format!("jeton-test-{own}");
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let held = (listener, UnixListener::bind_addr(&address).unwrap());
        Self { ports, name, _held: held }
    }

    fn tried(&self, run: &Run<'_>, options: &[&str]) -> String {
        let mut jeton = run.jeton();
        jeton.env("PORTS", &self.ports).env("ABSTRACT", &self.name);
        jeton.arg("proxy").args(options).args(["--", "python3", "-c", TRY]);
        let (ok, text) = said(&mut jeton);
        assert!(ok, "{text}");
        text
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_is_reached_from_a_network_of_its_own() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let outside = Outside::of(&scene);
    let uid = rustix::process::getuid().as_raw();
    let refused = "ConnectionRefusedError\n".repeat(3);
    let unreachable = "Network is unreachable\n".repeat(2);
    assert_eq!(
        outside.tried(&run, &["--alone"]),
        format!("{refused}{unreachable}ConnectionRefusedError\n{uid} ['lo']\n")
    );
    let without = outside.tried(&run, &[]);
    assert!(without.starts_with("reached\nreached\nreached\n"), "{without}");
    assert_eq!(
        without.matches("reached").count() - without.matches("unreach").count(),
        4,
        "{without}"
    );
}

const WORK: &str = r#"
set -e
curl -sS $API/v1/acme/shop/orders/7
curl -sS $JETON_PROXY/api/orders/v1/acme/shop/orders/8
git config --global user.name A; git config --global user.email a@example.org
git clone -q $GIT/acme/api.git work
cd work; echo fix > fix; git add fix; git commit -q -m fix
git push -q origin HEAD:refs/heads/agent/fix
ls -l /proc/self/fd | grep -c -v -e ' [012] -> ' -e ^total
curl -s -o /dev/null -w '%{http_connect}\n' https://forge.example.org/ || true
id -u
exit 7
"#;

#[tokio::test(flavor = "multi_thread")]
async fn work_through_the_gateway_goes_on_there() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let mut jeton = run.jeton();
    jeton.env("API", &scene.api).env("GIT", &scene.git);
    let (code, text) = ended(jeton.args(["proxy", "--alone", "--", "sh", "-c", WORK]));
    let uid = rustix::process::getuid().as_raw();
    // The one descriptor is that by which `ls` reads the folder.
    assert_eq!(text, format!("order 7 0\norder 8 0\n1\n403\n{uid}\n"));
    assert_eq!(code, Some(7));
    assert!(scene.host.tip("acme/api", "refs/heads/agent/fix").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_gets_one_too_and_can_not_look_into_the_helper() {
    if !rustix::process::getuid().is_root() {
        // The other tests have shown it.
        return;
    }
    const USER: u32 = 12_345;
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let home = scene.home.path();
    let run = Run::opened(&scene.broker, home, &ENVELOPE, &[]);
    for name in ["ca.pem", "agent.pem", "agent.key"] {
        fs::copy(scene.broker.data().join("tls").join(name), home.join(name)).unwrap();
    }
    fs::copy(program("jeton"), home.join("jeton")).unwrap();
    own_all(home, USER);
    let user = USER.to_string();
    let ends = |options: &[&str], words: &str| {
        let mut command = Command::new("setpriv");
        run.know(&mut command);
        command
            .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
            .arg(home.join("jeton"))
            .arg("proxy")
            .args(options)
            .args(["--", "sh", "-c", words])
            .env("JETON_CA", home.join("ca.pem"))
            .env("JETON_CERT", home.join("agent.pem"))
            .env("JETON_KEY", home.join("agent.key"))
            .env("TMPDIR", home.join("tmp"))
            .env("API", &scene.api)
            .env("GIT", &scene.git);
        ended(&mut command)
    };
    let (code, text) = ends(&["--alone"], WORK);
    assert_eq!(text, format!("order 7 0\norder 8 0\n1\n403\n{USER}\n"));
    assert_eq!(code, Some(7));
    // The session is in the memory of the parent, which is the same user's.
    for options in [&["--alone"][..], &[]] {
        let (_, text) = ends(options, "head -c 1 /proc/$PPID/mem; head -c 1 /proc/$$/mem");
        let denied = text.matches("Permission denied").count();
        assert_eq!((denied, text.matches("Input/output error").count()), (1, 1), "{text}");
    }
}

fn own_all(folder: &Path, user: u32) {
    chown(folder, Some(user), Some(user)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => own_all(&path, user),
            false => chown(&path, Some(user), Some(user)).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_that_was_open_before_is_inherited() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = outside.local_addr().unwrap().port();
    let open = |options: &str| {
        let jeton = program("jeton");
        let words = format!(
            "exec 9<>/dev/tcp/127.0.0.1/{port}; exec {} proxy {options} -- sh -c 'if (echo x >&9) 2> /dev/null; then echo inherited; else echo closed; fi'",
            jeton.display()
        );
        let mut bash = Command::new("bash");
        run.know(&mut bash);
        said(bash.args(["-c", &words])).1
    };
    assert_eq!(open("--alone"), "closed\n");
    assert_eq!(open(""), "inherited\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_system_gives_none_nothing_is_run() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let ran = scene.home.path().join("ran");
    let words = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces; exec {} proxy --alone -- touch {}",
        program("jeton").display(),
        ran.display()
    );
    let mut unshare = Command::new("unshare");
    run.know(&mut unshare);
    let (code, text) = ended(unshare.args(["--user", "--map-root-user", "sh", "-c", &words]));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("does not let you have a network of your own"), "{text}");
    assert!(text.contains("user.max_user_namespaces"), "{text}");
    assert!(!ran.exists());

    let mut jeton = run.jeton();
    let (code, text) = ended(jeton.args(["proxy", "--alone", "--", "/nonexistent/cmd"]));
    assert_eq!(code, Some(66), "{text}");
    assert!(text.contains("`/nonexistent/cmd` can't be started"), "{text}");
}
