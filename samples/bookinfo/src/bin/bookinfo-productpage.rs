//! The productpage service of Bookinfo.

use std::process::ExitCode;

use bookinfo::productpage::Productpage;
use bookinfo::settings::ProductpageSettings;

fn main() -> ExitCode {
    bookinfo::server::main("bookinfo-productpage", ProductpageSettings::read, Productpage::new)
}
