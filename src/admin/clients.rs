//! How much of the server one client may have: connections, and time to read what it is sent.
//!
//! Without these a single client could take every connection, and a health check would find none.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::rt::net::TcpStream;

/// Connections of one client at once.
const MOST_OF_ONE: usize = 96;

/// How long a client may leave unread what it was sent; the system ends the connection then.
const UNREAD_FOR: Duration = Duration::from_secs(20);

/// Who is connected how often.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of a client, for as long as it lasts.
#[derive(Debug)]
struct Seat {
    clients: Clients,
    client: IpAddr,
}

/// What is known of the connection that a request came on.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) local: Option<SocketAddr>,
    /// The socket once more, for whoever must end a client that reads nothing.
    socket: Option<std::net::TcpStream>,
    _seat: Option<Seat>,
}

impl Connection {
    /// The socket, to be shut down.
    pub(super) fn socket(&self) -> Option<std::net::TcpStream> {
        self.socket.as_ref()?.try_clone().ok()
    }
}

impl Clients {
    /// Lets a connection in; one too many is shut down at once.
    pub(super) fn admit(&self, stream: &TcpStream) -> Connection {
        let socket: Option<std::net::TcpStream> = stream.as_fd().try_clone_to_owned().ok().map(Into::into);
        let unread_for = u32::try_from(UNREAD_FOR.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, unread_for) {
            tracing::debug!(%error, "a client that reads nothing keeps its connection");
        }
        let client = stream.peer_addr().map(|peer| whole_client(peer.ip()));
        let seat = client.map(|client| self.take_seat(client)).unwrap_or_default();
        if seat.is_none()
            && let Some(socket) = &socket
            && let Err(error) = socket.shutdown(Shutdown::Both)
        {
            tracing::debug!(%error, "a connection too many had ended already");
        }
        Connection { local: stream.local_addr().ok(), socket, _seat: seat }
    }

    fn take_seat(&self, client: IpAddr) -> Option<Seat> {
        let mut clients = self.clients();
        let seats = clients.entry(client).or_default();
        if *seats >= MOST_OF_ONE {
            return None;
        }
        *seats += 1;
        Some(Seat { clients: self.clone(), client })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing that runs under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut clients = self.clients.clients();
        if let Some(seats) = clients.get_mut(&self.client) {
            *seats -= 1;
            if *seats == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// Whoever has one address of IPv6 has its whole /64.
pub(super) fn whole_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_client_cannot_have_every_connection() {
        let (clients, greedy) = (Clients::default(), address("10.0.0.1"));
        let mut seats: Vec<Seat> = (0..MOST_OF_ONE).map(|_| clients.take_seat(greedy).unwrap()).collect();
        assert!(clients.take_seat(greedy).is_none());
        assert!(clients.take_seat(address("10.0.0.2")).is_some());
        seats.pop();
        assert!(clients.take_seat(greedy).is_some());
        seats.clear();
        assert!(clients.clients().is_empty(), "who is gone is forgotten");
    }

    #[test]
    fn a_client_has_a_network_of_ipv6() {
        assert_eq!(whole_client(address("2001:db8::1")), whole_client(address("2001:db8::2:1")));
        assert_ne!(whole_client(address("2001:db8::1")), whole_client(address("2001:db8:0:1::1")));
        assert_eq!(whole_client(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }
}
