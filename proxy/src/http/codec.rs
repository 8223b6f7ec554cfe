//! The server side of HTTP/1 and HTTP/2. hyper stops here.

pub mod guard;
