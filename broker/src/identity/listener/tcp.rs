//! The door of the network: TCP with our own TLS.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Door, Transport};
use crate::{
    capacity::SlotHolder,
    identity::{
        admission::Admission,
        certificate::PeerCertificate,
        peer::{ClientCertificate, Peer, TlsPeer},
        tls::TlsState,
    },
};

/// A bound TCP socket.
pub struct TcpDoor {
    listener: TcpListener,
    tls: Arc<TlsState>,
}

impl TcpDoor {
    /// Puts TLS before a bound socket.
    pub fn new(listener: TcpListener, tls: Arc<TlsState>) -> Self {
        Self { listener, tls }
    }
}

impl Door for TcpDoor {
    type Raw = (TcpStream, SocketAddr);

    async fn accept(&self) -> io::Result<Self::Raw> {
        self.listener.accept().await
    }

    fn subject(&self, (_, address): &Self::Raw) -> io::Result<SlotHolder> {
        Ok(SlotHolder::address(address.ip()))
    }

    async fn greet(
        &self,
        (stream, address): Self::Raw,
        admission: &Arc<Admission>,
    ) -> io::Result<(Transport, Peer)> {
        stream.set_nodelay(true)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls.current().server));
        let stream = acceptor.accept(stream).await?;
        let certificate = match stream.get_ref().1.peer_certificates() {
            None | Some([]) => ClientCertificate::Absent,
            Some(chain) => {
                let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
                match PeerCertificate::read(chain) {
                    Ok(certificate) => ClientCertificate::Named(certificate),
                    Err(fault) => ClientCertificate::Unusable(fault),
                }
            }
        };
        if let ClientCertificate::Named(certificate) = &certificate {
            admission.prove(&certificate.id);
        }
        let peer = TlsPeer::new(address, certificate, Arc::clone(&self.tls))
            .admitted(Arc::clone(admission));
        Ok((Transport::Tls(Box::new(stream)), Peer::Tls(Arc::new(peer))))
    }
}
