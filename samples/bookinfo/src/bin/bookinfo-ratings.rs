//! The ratings service of Bookinfo.

use std::process::ExitCode;

use bookinfo::ratings::{Ratings, Variant};

fn main() -> ExitCode {
    bookinfo::server::main("bookinfo-ratings", Variant::read, |variant, _| Ratings::new(variant))
}
