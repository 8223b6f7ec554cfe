//! The details service of Bookinfo.

use std::process::ExitCode;

use bookinfo::details::Details;
use bookinfo::settings::DetailsSettings;

fn main() -> ExitCode {
    bookinfo::server::main("bookinfo-details", DetailsSettings::read, Details::new)
}
