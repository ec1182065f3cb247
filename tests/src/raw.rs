//! gRPC by hand: any path, any headers, any body, over TLS with any certificate or none.

use std::{fs, net::IpAddr, path::Path, sync::Arc};

use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::broker::Broker;

/// One connection.
pub struct Raw(SendRequest<Full<Bytes>>);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// `grpc-status`, in whichever headers it came.
    pub code: Option<i32>,
    /// `grpc-message`, still percent-encoded.
    pub message: String,
    /// The body as it came.
    pub body: Bytes,
}

/// A certificate and its key, in files.
pub struct Files<'a> {
    /// PEM.
    pub certificate: &'a Path,
    /// PEM.
    pub key: &'a Path,
}

/// A message as gRPC frames it.
pub fn framed(message: &impl prost::Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &body].concat()
}

/// Where the broker's gRPC port is.
pub fn address(broker: &Broker) -> String {
    let port = broker.env("JETON_ENDPOINT").rsplit(':').next().unwrap();
    format!("127.0.0.1:{port}")
}

/// How one of the example's people connects, or somebody without a certificate.
pub fn tls_config_of(broker: &Broker, who: Option<&str>) -> Arc<ClientConfig> {
    let tls = broker.data().join("tls");
    let path = |ending: &str| tls.join(format!("{}.{ending}", who.unwrap_or_default()));
    let (certificate, key) = (path("pem"), path("key"));
    tls_config(broker, who.map(|_| Files { certificate: &certificate, key: &key }))
}

/// How somebody with this certificate connects.
fn tls_config(broker: &Broker, files: Option<Files<'_>>) -> Arc<ClientConfig> {
    crate::crypto();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(broker.data().join("tls/ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match files {
        None => config.with_no_client_auth(),
        Some(files) => {
            let certificate =
                CertificateDer::from_pem_slice(&fs::read(files.certificate).unwrap()).unwrap();
            let key = PrivateKeyDer::from_pem_file(files.key).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Connects up to the end of the handshake.
pub async fn tls_stream(
    broker: &Broker,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    tls_stream_to(&address(broker), config).await
}

/// The same from another address of this host.
pub async fn tls_stream_from(
    source: IpAddr,
    broker: &Broker,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    socket.bind((source, 0).into()).map_err(|error| error.to_string())?;
    let address = address(broker).parse().unwrap();
    over_tls(socket.connect(address).await.map_err(|error| error.to_string())?, config).await
}

/// The same at another of its ports.
pub async fn tls_stream_to(
    address: &str,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    over_tls(TcpStream::connect(address).await.map_err(|error| error.to_string())?, config).await
}

async fn over_tls(
    stream: TcpStream,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await.map_err(|error| error.to_string())
}

impl Raw {
    /// Connects as one of the example's people, or without a certificate.
    pub async fn connect(broker: &Broker, who: Option<&str>) -> Result<Self, String> {
        let stream = tls_stream(broker, &tls_config_of(broker, who)).await?;
        Self::over(stream).await
    }

    /// Connects with this certificate, whoever signed it.
    pub async fn connect_with(broker: &Broker, files: Option<Files<'_>>) -> Result<Self, String> {
        Self::over(tls_stream(broker, &tls_config(broker, files)).await?).await
    }

    async fn over(stream: TlsStream<TcpStream>) -> Result<Self, String> {
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(1 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Calls a path.
    pub async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let mut request = http::Request::post(format!("https://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        self.0.ready().await.map_err(|error| error.to_string())?;
        let answer = self.0.send_request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let find = |name: &str| {
            let value = parts.headers.get(name).or_else(|| trailers.get(name));
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Ok(Answer {
            status: parts.status.as_u16(),
            code: find("grpc-status").and_then(|code| code.parse().ok()),
            message: find("grpc-message").unwrap_or_default(),
            body: body.to_bytes(),
        })
    }
}
