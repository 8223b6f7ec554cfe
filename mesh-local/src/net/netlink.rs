//! The few route-netlink requests a node needs, one at a time on a blocking socket.

use std::io;
use std::net::Ipv4Addr;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rtnetlink::{AddressMessageBuilder, LinkUnspec};

/// A netlink connection to the namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a connection to the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Creates a link; it must not exist.
    pub(super) fn create_link(&mut self, link: LinkMessage) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Deletes a link by name; false when there is none.
    pub(super) fn delete_link(&mut self, name: &str) -> io::Result<bool> {
        let link = LinkUnspec::new_with_name(name).build();
        match self.ask(RouteNetlinkMessage::DelLink(link), 0) {
            Ok(_) => Ok(true),
            Err(err) if err.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// The index of a link.
    pub(super) fn link_index(&mut self, name: &str) -> io::Result<u32> {
        let link = LinkUnspec::new_with_name(name).build();
        match self.ask(RouteNetlinkMessage::GetLink(link), 0)? {
            Some(RouteNetlinkMessage::NewLink(found)) => Ok(found.header.index),
            _ => Err(io::Error::other(format!("the kernel did not describe link {name}"))),
        }
    }

    /// Brings a link up.
    pub(super) fn set_up(&mut self, index: u32) -> io::Result<()> {
        let link = LinkUnspec::new_with_index(index).up().build();
        self.ask(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    /// Gives a link an address; having it already is fine.
    pub(super) fn add_address(&mut self, index: u32, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let address = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(ip, prefix);
        let message = RouteNetlinkMessage::NewAddress(address.build());
        self.ask(message, NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Adds a route, in place of one to the same destination.
    pub(super) fn add_route(&mut self, route: RouteMessage) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route);
        self.ask(message, NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Sends one request and reads up to its acknowledgement; the answer before it, if any.
    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answer = None;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err.to_string()))?;
                let length = usize::try_from(reply.header.length).unwrap_or(usize::MAX);
                // Messages in one datagram are padded to four bytes.
                rest = rest.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
                if reply.header.sequence_number != self.sequence {
                    continue;
                }
                match reply.payload {
                    NetlinkPayload::Error(verdict) if verdict.code.is_none() => return Ok(answer),
                    NetlinkPayload::Error(verdict) => return Err(verdict.to_io()),
                    NetlinkPayload::InnerMessage(inner) => answer = Some(inner),
                    _ => {}
                }
            }
        }
    }
}
