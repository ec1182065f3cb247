//! `git http-backend` as a CGI process per request, streaming in both directions.

use std::path::Path;
use std::process::Stdio;

use axum::body::{Body, Bytes};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// `git http-backend` writes a few lines of headers.
const LONGEST_HEADERS: usize = 16 * 1024;

/// One call of the backend.
pub(super) struct Call<'a> {
    pub(super) root: &'a Path,
    /// `/owner/name.git/…`, below the root.
    pub(super) path: String,
    pub(super) user: &'a str,
    pub(super) parts: &'a Parts,
    /// What was read from the body already.
    pub(super) taken: Bytes,
    pub(super) rest: Body,
}

/// Runs the backend; the answer begins as soon as its headers are there.
pub(super) async fn run(call: Call<'_>) -> Response<Body> {
    let mut child = command(&call).spawn().expect("`git` starts");
    let stdin = child.stdin.take().unwrap();
    tokio::spawn(feed(stdin, call.taken, call.rest));
    let mut stdout = child.stdout.take().unwrap();
    match read_headers(&mut stdout).await {
        Some((mut answer, first)) => {
            *answer.body_mut() = stream(child, stdout, first);
            answer
        }
        None => {
            let mut answer = Response::new(Body::from("git http-backend said nothing\n"));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    }
}

fn command(call: &Call<'_>) -> Command {
    let header = |name: &HeaderName| {
        call.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", call.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", call.root)
        .env("REMOTE_USER", call.user)
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REQUEST_METHOD", call.parts.method.as_str())
        .env("PATH_INFO", &call.path)
        .env("QUERY_STRING", call.parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header(&CONTENT_TYPE))
        .env("HTTP_CONTENT_ENCODING", header(&CONTENT_ENCODING))
        .env("GIT_PROTOCOL", header(&HeaderName::from_static("git-protocol")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    // Without a length the backend reads to the end of its input.
    if let Some(length) = call.parts.headers.get(CONTENT_LENGTH) {
        command.env("CONTENT_LENGTH", length.to_str().unwrap_or_default());
    }
    command
}

async fn feed(mut stdin: ChildStdin, taken: Bytes, mut rest: Body) {
    // The backend may end before it has read everything; its answer says why.
    if stdin.write_all(&taken).await.is_err() {
        return;
    }
    while let Some(Ok(frame)) = rest.frame().await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if stdin.write_all(&data).await.is_err() {
            return;
        }
    }
}

/// Reads up to the empty line; what follows it in the same read is the first of the body.
async fn read_headers(stdout: &mut (impl AsyncRead + Unpin)) -> Option<(Response<Body>, Bytes)> {
    let mut read = Vec::new();
    while read.len() < LONGEST_HEADERS {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let answer = parse_headers(std::str::from_utf8(&read[..end]).ok()?)?;
            return Some((answer, Bytes::copy_from_slice(&read[end + 4..])));
        }
        if stdout.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    None
}

fn parse_headers(text: &str) -> Option<Response<Body>> {
    let mut answer = Response::new(Body::empty());
    for line in text.split("\r\n") {
        let (name, value) = line.split_once(": ")?;
        if name == "Status" {
            *answer.status_mut() = value.get(..3)?.parse().ok()?;
        } else {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            answer.headers_mut().insert(name, HeaderValue::from_str(value).ok()?);
        }
    }
    Some(answer)
}

/// The rest of the output as a body; it holds the process, and ends it when nobody reads on.
fn stream(mut child: Child, mut stdout: ChildStdout, first: Bytes) -> Body {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
    tokio::spawn(async move {
        let mut chunk = first;
        loop {
            if !chunk.is_empty() && sender.send(Ok(chunk)).await.is_err() {
                return;
            }
            let mut next = Vec::with_capacity(64 * 1024);
            match stdout.read_buf(&mut next).await {
                Ok(0) => break,
                Ok(_) => chunk = Bytes::from(next),
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    break;
                }
            }
        }
        let _ = child.wait().await;
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_comes_with_its_headers_is_not_lost() {
        let mut output = &b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nbody"[..];
        let (answer, first) = read_headers(&mut output).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain");
        assert_eq!(first, "body");
    }

    #[tokio::test]
    async fn output_without_an_end_of_headers_is_no_answer() {
        let endless = "Expires: never\r\n".repeat(2000) + "\r\n";
        for output in ["", "Status: 200 OK\r\n", "no header\r\n\r\n", &endless] {
            assert!(read_headers(&mut output.as_bytes()).await.is_none());
        }
    }
}
