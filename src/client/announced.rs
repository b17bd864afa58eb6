//! What a trusted proxy in front of us says of the client whose connection it passes on.

use tokio::io::AsyncReadExt;

use super::House;
use crate::config::Global;
use crate::error::Error;
use crate::net::ends::Ends;
use crate::net::proxy_protocol::{self, Found, Header};
use crate::net::stream::Stream;

/// The ends that hold: the socket's own, or what the header names that a sender in `proxy_protocol_from` begins with.
/// Reads no byte behind the header. None: the connection ended before it was whole, as a health check's does.
pub async fn ends(house: &House, stream: &mut Stream, ends: Ends) -> Result<Option<Ends>, Error> {
    if !is_trusted(&house.backends.ground().config.global, &ends) {
        return Ok(Some(ends));
    }
    let mut header = Vec::new();
    loop {
        match proxy_protocol::parse(&header).map_err(|what| Error::protocol(what.0))? {
            Found::Header(Header::Local) => return Ok(Some(ends)),
            Found::Header(Header::Proxied { from, to }) => return Ok(Some(Ends::Tcp { from, to })),
            Found::Needs(more) => {
                let so_far = header.len();
                header.resize(so_far + more, 0);
                if stream.read_exact(&mut header[so_far..]).await.is_err() {
                    return Ok(None);
                }
            }
        }
    }
}

/// Whether a header must come.
fn is_trusted(global: &Global, ends: &Ends) -> bool {
    let Ends::Tcp { from, to } = ends else { return false };
    let at = &global.proxy_protocol_on;
    let here = at.is_empty() || at.iter().any(|network| network.contains(to.ip()));
    here && global.proxy_protocol_from.iter().any(|network| network.contains(from.ip()))
}
