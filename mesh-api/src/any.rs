//! Packing messages into `Any` and back.

use prost::{DecodeError, Message, Name};

use crate::envoy::protobuf::Any;

/// An `Any` that does not hold the message asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AnyError {
    /// It holds another type.
    #[error("expected a {expected}, found type URL {found:?}")]
    Type {
        /// Full name of the message asked for.
        expected: String,
        /// Type URL of what is there.
        found: String,
    },
    /// Its bytes are not a message of that type.
    #[error("the bytes of a {name} do not decode: {source}")]
    Bytes {
        /// Full name of the message.
        name: String,
        /// What is wrong with the bytes.
        source: DecodeError,
    },
}

/// The full name of the message a type URL names: what follows the last slash.
pub fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// Packs a message.
///
/// ```
/// use mesh_api::any::{pack, unpack};
/// use mesh_api::envoy::route::RouteConfiguration;
///
/// let route = RouteConfiguration { name: "9080".to_owned(), ..Default::default() };
/// let any = pack(&route);
/// assert_eq!(any.type_url, "type.googleapis.com/envoy.config.route.v3.RouteConfiguration");
/// assert_eq!(unpack::<RouteConfiguration>(&any)?, route);
/// # Ok::<(), mesh_api::any::AnyError>(())
/// ```
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// Whether the `Any` says it holds an `M`.
pub fn holds<M: Name>(any: &Any) -> bool {
    message_name(&any.type_url) == M::full_name()
}

/// Unpacks a message. As Envoy does, only what follows the last slash of the type URL counts.
///
/// # Errors
/// When the `Any` holds another type, or bytes that are not a message of that type.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, AnyError> {
    if !holds::<M>(any) {
        return Err(AnyError::Type { expected: M::full_name(), found: any.type_url.clone() });
    }
    M::decode(any.value.as_slice())
        .map_err(|source| AnyError::Bytes { name: M::full_name(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::cluster::Cluster;
    use crate::envoy::listener::Listener;

    #[test]
    fn what_is_not_the_message_is_an_error_that_says_so() {
        let any = pack(&Cluster { name: "a".to_owned(), ..Default::default() });
        let error = unpack::<Listener>(&any).unwrap_err().to_string();
        assert_eq!(
            error,
            "expected a envoy.config.listener.v3.Listener, found type URL \
             \"type.googleapis.com/envoy.config.cluster.v3.Cluster\""
        );
        let broken = Any { value: vec![0xff], ..any };
        assert!(matches!(unpack::<Cluster>(&broken), Err(AnyError::Bytes { .. })));
    }

    #[test]
    fn the_host_of_a_type_url_does_not_count() {
        let any = pack(&Cluster::default());
        let bare = Any { type_url: Cluster::full_name(), ..any };
        assert!(unpack::<Cluster>(&bare).is_ok());
    }
}
