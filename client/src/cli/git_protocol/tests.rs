//! Hostile questions to the credential helper.

use super::*;

fn ours() -> Site {
    Site::parse("http://127.0.0.1:8080").unwrap()
}

fn aim(question: &str) -> Aim {
    Question::parse(question.as_bytes()).unwrap().aims_at(&ours())
}

fn asks(host: &str, path: &str) -> Aim {
    aim(&format!("protocol=http\nhost={host}\npath={path}\n\n"))
}

#[test]
fn the_repository_is_told_with_or_without_slash_and_git() {
    for path in ["acme/api", "/acme/api", "acme/api.git", "/acme/api.git"] {
        assert_eq!(asks("127.0.0.1:8080", path), Aim::Repository("acme/api".to_owned()), "{path}");
    }
}

#[test]
fn only_owner_and_repo_are_a_path() {
    for path in [
        "/",
        "acme",
        "acme/",
        "/acme",
        "//acme/api",
        "acme//api",
        "acme/api/",
        "acme/api.git/info/lfs",
        "acme/..",
        "../api",
        "acme/.git",
        "acme/%61pi",
        "acme/a pi",
        "acme/api?x",
        "acme/api#x",
        "acme\\api",
        "acme/api;x",
        "acme/*",
        "acme/äpi",
        "a:b@acme/api",
        ".git",
        "acme/api contents:admin",
    ] {
        assert_eq!(asks("127.0.0.1:8080", path), Aim::OddPath, "{path}");
    }
    assert_eq!(asks("127.0.0.1:8080", ""), Aim::NoPath);
    assert_eq!(aim("protocol=http\nhost=127.0.0.1:8080\n"), Aim::NoPath);
}

#[test]
fn every_other_server_gets_nothing() {
    for host in [
        "",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:8081",
        "127.0.0.1:08080",
        "127.0.0.1:+8080",
        "127.0.0.1:8080:8080",
        "127.0.0.1:8080@evil.test",
        "x@127.0.0.1:8080",
        "evil.test",
        "127.0.0.1:8080.evil.test",
        "127.0.0.1:8080/",
        "127.0.0.1.:8080",
        " 127.0.0.1:8080",
        "127.0.0.1:73616",
        "127.0.0.1:",
        ":8080",
        "localhost:8080",
        "[127.0.0.1]:8080",
        "１27.0.0.1:8080",
        "127.0.0.1%3a8080",
        "127.0.0.1:8080\\@evil.test",
        "127.1:8080",
    ] {
        assert_eq!(asks(host, "acme/api"), Aim::Elsewhere, "{host}");
    }
    for protocol in ["https", "HTTP", "", "ftp", "http:", "http://", " http"] {
        let question = format!("protocol={protocol}\nhost=127.0.0.1:8080\npath=acme/api\n");
        assert_eq!(aim(&question), Aim::Elsewhere, "{protocol}");
    }
    assert_eq!(aim("host=127.0.0.1:8080\npath=acme/api\n"), Aim::Elsewhere);
    assert_eq!(aim("protocol=http\npath=acme/api\n"), Aim::Elsewhere);
    assert_eq!(aim(""), Aim::Elsewhere);
}

#[test]
fn what_git_never_sends_is_refused() {
    let long = format!("path={}\n", "a".repeat(LINE_BYTES));
    let many = "a=b\n".repeat(LINES + 1);
    let odd: &[(&[u8], Odd)] = &[
        (b"host=a\r\n", Odd::Control),
        (b"host=a\0b\n", Odd::Control),
        (b"host=a\tb\n", Odd::Control),
        (b"host=\x1b[2Ja\n", Odd::Control),
        (b"host=a\x7f\n", Odd::Control),
        ("host=a\u{85}\n".as_bytes(), Odd::Control),
        ("host=a\u{2028}\n".as_bytes(), Odd::Control),
        ("host=\u{202e}a\n".as_bytes(), Odd::Control),
        (b"host\n", Odd::NoValue),
        (b"host=\xff\n", Odd::Text),
        (b"host=a\nhost=b\n", Odd::Twice),
        (b"protocol=http\nprotocol=http\n", Odd::Twice),
        (b"path=a\npath=b\n", Odd::Twice),
        (b"url=http://127.0.0.1:8080/a/b\n", Odd::Twice),
        (b"host=a\n\nhost=b\n", Odd::Tail),
        (b"\n\nprotocol=http\n", Odd::Tail),
        (long.as_bytes(), Odd::Line),
        (many.as_bytes(), Odd::Lines),
        (&[b'a'; BYTES + 1], Odd::Large),
    ];
    for (bytes, why) in odd {
        assert_eq!(Question::parse(bytes).unwrap_err(), *why, "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn unknown_keys_are_left_alone_and_capabilities_are_seen() {
    let question =
        "capability[]=state\ncapability[]=authtype\nwwwauth[]=Basic realm=\"host=evil\"\nx=y=z\n";
    assert!(Question::parse(question.as_bytes()).unwrap().authtype);
    assert!(!Question::parse(b"capability[]=authtypes\ncapability=authtype\n").unwrap().authtype);
}

#[test]
fn default_ports_and_cases_of_a_host_are_the_same_server() {
    let ours = Site::parse("https://GitHub.com/").unwrap();
    assert_eq!(ours.to_string(), "https://github.com");
    let question = Question::parse(b"protocol=https\nhost=github.com:443\npath=a/b\n").unwrap();
    assert_eq!(question.aims_at(&ours), Aim::Repository("a/b".to_owned()));
}

#[test]
fn a_configured_url_is_a_server_and_nothing_else() {
    for url in [
        "",
        "github.com",
        "https://",
        "https:///",
        "https://a/b",
        "https://a?x",
        "https://u@a",
        "https://u:p@a",
        "ssh://a",
        "https://a:0",
        "https://a:",
        "https://[::1",
        "https://a b",
        "https://a\n",
        "https://a//",
        "file:///a",
    ] {
        assert_eq!(Site::parse(url), None, "{url}");
    }
    assert_eq!(Site::parse("http://[::1]:3000").unwrap().to_string(), "http://[::1]:3000");
    assert_eq!(Site::parse("http://[::1]").unwrap().to_string(), "http://[::1]");
}

#[test]
fn only_plain_http_beyond_this_machine_is_clear() {
    for (url, clear) in [
        ("http://git.test", true),
        ("http://127.0.0.1.evil.test", true),
        ("http://127.0.0.1:1", false),
        ("http://localhost", false),
        ("http://[::1]", false),
        ("https://git.test", false),
    ] {
        assert_eq!(Site::parse(url).unwrap().is_clear(), clear, "{url}");
    }
}

#[test]
fn the_answer_fits_the_git_that_asks_and_the_server() {
    let answer =
        Answer { username: "x-access-token", secret: "s3cret", bearer: false, expires: Some(7) };
    assert_eq!(
        answer.text(false).unwrap(),
        "username=x-access-token\npassword=s3cret\npassword_expiry_utc=7\n"
    );
    assert_eq!(
        answer.text(true).unwrap(),
        "capability[]=authtype\nauthtype=Basic\ncredential=eC1hY2Nlc3MtdG9rZW46czNjcmV0\nephemeral=1\npassword_expiry_utc=7\n"
    );
    let answer = Answer { bearer: true, expires: None, ..answer };
    assert_eq!(
        answer.text(true).unwrap(),
        "capability[]=authtype\nauthtype=Bearer\ncredential=s3cret\nephemeral=1\n"
    );
}

#[test]
fn a_secret_that_could_be_another_line_is_never_written() {
    for secret in ["", "a\nhost=evil", "a\r", "a\0", "a b", "a\u{2028}", "é"] {
        let answer = Answer { username: "x", secret, bearer: true, expires: None };
        assert_eq!((answer.text(true), answer.text(false)), (None, None), "{secret:?}");
        let answer = Answer { username: secret, secret: "s", bearer: true, expires: None };
        assert_eq!(answer.text(true), None, "{secret:?}");
    }
    assert_eq!(
        Answer { username: "a:b", secret: "s", bearer: false, expires: None }.text(true),
        None
    );
}
