//! Large files: each is asked for anew when it is got or brought, so that the addresses that an upstream
//! signs for them stay here.
//!
//! Spec: Git LFS, `docs/api`; the transfer `basic`.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use axum::body::{Body, BodyDataStream, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST},
    uri::Authority,
};
use jeton_domain::{
    deed::{Change, Deed},
    id::quote,
    scope::Scope,
    secret::Secret,
};
use jeton_git::{
    large::{self, Address, Batch, MEDIA_TYPE, Said},
    request::LargeFile,
};
use ring::digest::{Context, SHA256};
use tokio::{
    task::{JoinError, spawn_blocking},
    time::timeout,
};
use tokio_stream::{Stream, StreamExt};

use super::{Asked, ended_early, push::drain, scopes};
use crate::{
    gateway::{
        headers::is_of_a_connection,
        length,
        mask::Masked,
        outward::{Call, GrantGuard, Shows, only},
        words::Told,
    },
    limits::{BATCH_BYTES, PUSH_FRONT},
    operation::{Refusal, pass::Pass, under_grant::Under},
};

/// Where `jeton proxy` says under which address its command knows it.
const BASE: HeaderName = HeaderName::from_static("jeton-base");
/// What may come back of a file.
const BACK: [HeaderName; 1] = [CONTENT_TYPE];

impl Asked<'_> {
    /// Tells where files are, or go.
    pub(super) async fn batch(&self, body: Body) -> Result<Response<Body>, Told> {
        let read = timeout(PUSH_FRONT, axum::body::to_bytes(body, BATCH_BYTES)).await;
        let odd = |words: &str| Told::new(StatusCode::BAD_REQUEST, words);
        let bytes = read.ok().and_then(Result::ok);
        let bytes = bytes.ok_or_else(|| odd("the batch breaks off, or is too long"))?;
        // Why a thread of its own: it is megabytes of JSON.
        let batch = spawn_blocking(move || Batch::parse(&bytes)).await.map_err(unread)?;
        let batch = batch
            .map_err(|error| Told::new(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()))?;
        let base =
            self.base().ok_or_else(|| odd("the request does not say which host it is for"))?;
        let pass = self.may_carry(batch.upload, &batch.files).await?;
        let guard = GrantGuard::new(self.gateway, &pass, &self.line());
        let said = self.ask(&batch, &guard).await?;
        guard.transfer().ended();
        let upload = batch.upload;
        let told = spawn_blocking(move || large::told(&said, upload, &base)).await;
        let mut answer = Response::new(Body::from(told.map_err(unread)?));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        answer.extensions_mut().insert(Arc::clone(guard.transfer()));
        Ok(answer)
    }

    /// Sends a file.
    pub(super) async fn download(&self, file: LargeFile) -> Result<Response<Body>, Told> {
        let pass = self.may_carry(false, &[file]).await?;
        let guard = GrantGuard::new(self.gateway, &pass, &self.line());
        let transfer = guard.transfer();
        let said = self.ask_one(file, false, &guard).await?;
        let there = said.to.ok_or_else(|| {
            transfer.cut("the upstream does not have the file");
            Told::new(StatusCode::NOT_FOUND, "the upstream says nowhere where the file is")
        })?;
        // Why no part of it: of a part, what was put into two could not be covered.
        let answer = self.at(Method::GET, &there, HeaderMap::new(), None, &guard).await?;
        let status = answer.status();
        let packed = answer.headers().get(CONTENT_ENCODING);
        if packed.is_some_and(|how| how != "identity") || status == StatusCode::PARTIAL_CONTENT {
            transfer.cut("the answer was packed, or a part");
            let words = "the upstream packed the file, or sent a part of it, although nobody asked";
            return Err(Told::new(StatusCode::BAD_GATEWAY, words));
        }
        let mut headers = only(answer.headers(), &BACK);
        let length = length::of_answer(&answer, &Method::GET);
        headers.extend(length.map(|length| (CONTENT_LENGTH, length)));
        let mut known = guard.marks();
        for (name, value) in there.headers.iter().filter(|(name, _)| opens(name)) {
            known = known.also(value);
            if let Some((_, bare)) =
                value.expose().split_once(' ').filter(|_| is_authorization(name))
            {
                known = known.also(&Secret::new(bare.to_owned()));
            }
        }
        let bytes = Masked::new(answer.bytes_stream(), known);
        let mut told = Response::new(Body::from_stream(transfer.back(bytes)));
        *told.status_mut() = status;
        *told.headers_mut() = headers;
        told.extensions_mut().insert(Arc::clone(transfer));
        Ok(told)
    }

    /// Takes a file.
    pub(super) async fn upload(&self, file: LargeFile, body: Body) -> Result<Response<Body>, Told> {
        let mut body = Some(body.into_data_stream());
        let taken = self.take(file, &mut body).await;
        // What was refused, or is there already, is read over: else the client might not see the answer.
        if let Some(rest) = body {
            drain(rest).await;
        }
        taken
    }

    /// Takes a file; leaves its bytes if it does not begin to.
    async fn take(
        &self,
        file: LargeFile,
        body: &mut Option<BodyDataStream>,
    ) -> Result<Response<Body>, Told> {
        let length = self.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if length != Some(file.size.to_string().as_str())
            || self.headers.contains_key(CONTENT_ENCODING)
        {
            let words = "send the file plain, with its size as Content-Length";
            return Err(Told::new(StatusCode::LENGTH_REQUIRED, words));
        }
        let pass = self.may_carry(true, &[file]).await?;
        let guard = GrantGuard::new(self.gateway, &pass, &self.line());
        let transfer = guard.transfer();
        let said = self.ask_one(file, true, &guard).await?;
        if let (Some(there), Some(body)) = (&said.to, body.take()) {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(file.size));
            let whole = Checked::new(file, body);
            let whole = reqwest::Body::wrap_stream(transfer.out(whole));
            self.at(Method::PUT, there, headers, Some(whole), &guard).await?;
            if let Some(there) = &said.verify {
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
                headers.insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPE));
                let file = serde_json::json!({ "oid": file.to_string(), "size": file.size });
                let body = reqwest::Body::from(file.to_string());
                self.at(Method::POST, there, headers, Some(body), &guard).await?;
            }
        }
        transfer.ended();
        Ok(Response::new(Body::empty()))
    }

    /// Finds or gets a grant, and decides whether these files may be carried under it.
    async fn may_carry(&self, upload: bool, files: &[LargeFile]) -> Result<Pass, Told> {
        let record = self.record()?;
        let most = self.gateway.room.file_bytes;
        if let Some(large) = files.iter().find(|file| upload && file.size > most) {
            let words = format!(
                "a file of {} bytes is larger than the {most} that pass; its platform team raises `file_mib` of [gateway]",
                large.size
            );
            return Err(Told::new(StatusCode::PAYLOAD_TOO_LARGE, &words));
        }
        let pass = self.pass(&scopes(&self.wanted, upload, record)).await?;
        self.still_may(record, &pass).await?;
        let under = Under::new(&self.gateway.broker, record, Some(&pass.grant)).await;
        let under = under.map_err(Told::of)?;
        let scope = pass.grant.scope.clone();
        if upload && under.reads_content(&scope) {
            for file in files {
                self.may_bring(&under, &scope, *file).await?;
            }
        }
        Ok(pass)
    }

    /// Decides about one that is brought. Its path in the repository is not known here: rules see the one by
    /// which it is named, and its size.
    async fn may_bring(
        &self,
        under: &Under<'_>,
        scope: &Scope,
        file: LargeFile,
    ) -> Result<(), Told> {
        let deed =
            Deed::File { change: Change::Create, path: file.path().into(), bytes: Some(file.size) };
        let Err(denial) = under.may(scope, Some(&deed)) else { return Ok(()) };
        let refused = under.refuse(scope.clone(), Some(deed), denial).await;
        Err(refused.map_or_else(Told::of, |()| Told::of(Refusal::NotFound("grant"))))
    }

    /// Asks the upstream about one file.
    async fn ask_one(
        &self,
        file: LargeFile,
        upload: bool,
        guard: &GrantGuard<'_>,
    ) -> Result<Said, Told> {
        let batch = Batch { upload, files: vec![file] };
        let said = self.ask(&batch, guard).await?.into_iter().next();
        let nothing =
            || Told::new(StatusCode::BAD_GATEWAY, "the upstream says nothing of the file");
        let said = said.ok_or_else(nothing)?;
        match &said.error {
            None => Ok(said),
            Some((code, words)) => {
                guard.transfer().cut("the upstream refused the file");
                let code = StatusCode::from_u16(*code).ok().filter(|code| code.is_client_error());
                // Why not as it is: the credential's own failure is not the caller's.
                let code = code.filter(|code| *code != StatusCode::UNAUTHORIZED);
                let words = format!("`{}` refused the file: {words}", self.wanted.upstream);
                Err(Told::new(code.unwrap_or(StatusCode::BAD_GATEWAY), &words))
            }
        }
    }

    /// Asks the upstream.
    async fn ask(&self, batch: &Batch, guard: &GrantGuard<'_>) -> Result<Vec<Said>, Told> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPE));
        let call = Call {
            method: Method::POST,
            url: self.url("info/lfs/objects/batch")?,
            headers,
            shows: Shows::Credential,
            body: Some(batch.asked().into()),
        };
        let answer = self.called(call, guard).await?;
        let taken = guard.while_live(timeout(PUSH_FRONT, whole(answer))).await;
        let taken = taken.map_err(ended_early)?.ok().flatten();
        let wanted = batch.clone();
        let read = spawn_blocking(move || large::said(&taken?, &wanted)).await.map_err(unread)?;
        let mut said = read.ok_or_else(|| {
            guard.transfer().cut("the upstream's answer is not understood");
            let words = "the upstream's answer about large files is not understood";
            Told::new(StatusCode::BAD_GATEWAY, words)
        })?;
        let known = guard.marks();
        for said in &mut said {
            // Why looked through as it came: what is cut or escaped would not be found.
            if let Some((_, words)) = &mut said.error {
                *words = match known.are_in(words.as_bytes()) {
                    true => "it put the credential into its answer, which is kept here".to_owned(),
                    false => quote(words),
                };
            }
            let addresses = said.to.iter().chain(&said.verify);
            let unknown = addresses.map(|there| self.unknown(there)).find_map(|words| words);
            if let Some(words) = unknown {
                said.to = None;
                said.error = Some((StatusCode::FORBIDDEN.as_u16(), words));
            }
        }
        Ok(said)
    }

    /// What to do about an address that is not one of the upstream's; `None` if it is.
    fn unknown(&self, there: &Address) -> Option<String> {
        if self.way.large_file(&there.url).is_some() {
            return None;
        }
        let host = reqwest::Url::parse(there.url.expose()).ok();
        let host = host.map(|url| url.origin().ascii_serialization());
        Some(format!(
            "it keeps large files at {}, which nobody named; its platform team adds that to `large_files` of the upstream",
            host.as_deref().unwrap_or("no address")
        ))
    }

    /// Calls where the upstream says.
    async fn at(
        &self,
        method: Method,
        there: &Address,
        mut headers: HeaderMap,
        body: Option<reqwest::Body>,
        guard: &GrantGuard<'_>,
    ) -> Result<reqwest::Response, Told> {
        let (upstream, transfer) = (&self.wanted.upstream, guard.transfer());
        let odd = |why: &'static str, words: String| {
            transfer.cut(why);
            Told::new(StatusCode::BAD_GATEWAY, &words)
        };
        let (url, own) = self.way.large_file(&there.url).ok_or_else(|| {
            odd("large files are elsewhere", self.unknown(there).unwrap_or_default())
        })?;
        let known = guard.marks();
        let values = there.headers.iter().map(|(_, value)| value).chain([&there.url]);
        if !own && values.into_iter().any(|text| known.are_in(text.expose().as_bytes())) {
            let words = format!(
                "`{upstream}` wants its credential sent to {}; it goes to the upstream alone",
                url.origin().ascii_serialization()
            );
            return Err(odd("the credential would go elsewhere", words));
        }
        for (name, value) in &there.headers {
            let name = HeaderName::try_from(name.as_str()).ok();
            let value = HeaderValue::from_str(value.expose()).ok();
            let (Some(name), Some(mut value)) = (name, value) else {
                let words = format!("`{upstream}` wants a header that is none");
                return Err(odd("the upstream wants an odd header", words));
            };
            value.set_sensitive(true);
            // Why: how the file is framed is not for the upstream to say.
            if !is_of_a_connection(&name) {
                headers.insert(name, value);
            }
        }
        // Why only there: elsewhere the credential does not go.
        let bare = own && !headers.contains_key(AUTHORIZATION);
        let shows = if bare { Shows::Credential } else { Shows::Nothing };
        let call = Call { method, url, headers, shows, body };
        let answer = self.way.call(guard, call).await;
        let words = format!("`{upstream}` did not take or give the file");
        let answer = answer.map_err(|error| error.refusal(upstream, transfer, &words))?;
        transfer.answered(answer.status().as_u16());
        if answer.status().is_success() {
            return Ok(answer);
        }
        let words = format!("`{upstream}` answered {} about the file", answer.status());
        Err(odd("the upstream refused a large file", words))
    }

    /// How the client calls the gateway, with the repository.
    fn base(&self) -> Option<String> {
        let text =
            |name| self.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let local = text(BASE).and_then(|base| base.strip_prefix("http://"));
        let local = local.and_then(|host| host.parse::<SocketAddr>().ok());
        // Why only on a loopback: whoever else could put it there must not send the client elsewhere.
        let host = match local.filter(|host| host.ip().is_loopback()) {
            Some(host) => format!("http://{host}"),
            None => {
                let host = text(HOST).map(str::parse::<Authority>)?.ok()?;
                let plain = !host.as_str().contains('@');
                plain.then(|| format!("https://{host}"))?
            }
        };
        let (upstream, resource) = (&self.wanted.upstream, &self.wanted.resource);
        Some(format!("{host}/git/{upstream}/{resource}.git"))
    }
}

/// A thread that read something did not come to its end.
fn unread(error: JoinError) -> Told {
    tracing::error!(%error, "a batch of large files could not be read");
    Told::new(StatusCode::INTERNAL_SERVER_ERROR, "the batch could not be read")
}

fn is_authorization(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization")
}

/// Whether what stands in a header opens something. Why not each: what a file happens to hold would be covered.
fn opens(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "token", "key", "signature", "secret", "credential"]
        .iter()
        .any(|word| name.contains(word))
}

/// An answer, whole and bounded.
async fn whole(answer: reqwest::Response) -> Option<Vec<u8>> {
    let (mut pieces, mut taken) = (answer.bytes_stream(), Vec::new());
    while let Some(piece) = pieces.next().await {
        taken.extend_from_slice(&piece.ok()?);
        if taken.len() > BATCH_BYTES {
            return None;
        }
    }
    Some(taken)
}

/// The bytes of a file, of which the last go on only if all of them are that file.
struct Checked<S> {
    inner: S,
    file: LargeFile,
    digest: Context,
    held: Option<Bytes>,
    over: bool,
}

impl<S> Checked<S> {
    fn new(file: LargeFile, inner: S) -> Self {
        Self { inner, file, digest: Context::new(&SHA256), held: None, over: false }
    }
}

impl<S, E> Stream for Checked<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    type Item = Result<Bytes, String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let next = match Pin::new(&mut self.inner).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            };
            match next {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.digest.update(&piece);
                    if let Some(before) = self.held.replace(piece) {
                        return Poll::Ready(Some(Ok(before)));
                    }
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error.to_string())));
                }
                None => {
                    self.over = true;
                    let same = self.digest.clone().finish().as_ref() == self.file.id;
                    return Poll::Ready(match (same, self.held.take()) {
                        (true, last) => last.map(Ok),
                        (false, _) => {
                            Some(Err("the file is another than its name says".to_owned()))
                        }
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(id: &str, pieces: &[&'static [u8]]) -> (Vec<u8>, bool) {
        let file = LargeFile::parse(id, 5).unwrap();
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, String>(Bytes::from(*piece))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut stream = Checked::new(file, tokio_stream::iter(pieces));
            let mut sent = Vec::new();
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => sent.extend_from_slice(&piece),
                    Err(_) => return (sent, false),
                }
            }
            (sent, true)
        })
    }

    #[test]
    fn the_end_of_a_file_goes_on_only_if_it_is_that_file() {
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(sent(hello, &[b"he", b"", b"llo"]), (b"hello".to_vec(), true));
        assert_eq!(sent(hello, &[b"he", b"llO"]), (b"he".to_vec(), false));
        assert_eq!(sent(hello, &[]), (vec![], false));
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sent(nothing, &[b""]), (vec![], true));
    }
}
