//! Which ids an ordinary user may use inside a user namespace (`/etc/subuid`, `/etc/subgid`).

use std::fmt;

/// The smallest range worth having: it holds uid 1337, which mesh sidecars run as.
const USEFUL: u32 = 1338;
/// Ids above this are not needed inside the namespace.
const ENOUGH: u32 = 65_535;

/// A run of ids that the administrator has delegated to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id, as the host sees it.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// One line of a uid or gid map: `count` ids from `inside` in the namespace are `outside` on the
/// host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.count)
    }
}

/// The largest range that `text` (subuid(5)) delegates to the user, found by name or by number.
/// Lines that make no sense are passed over, as `newuidmap` does. Ranges too small to hold uid
/// 1337, or that would wrap around, do not count.
///
/// ```
/// use mesh_local::host::{IdRange, delegated_range};
///
/// let range = delegated_range("mesh:100000:65536\n", Some("mesh"), 1001);
/// assert_eq!(range, Some(IdRange { first: 100_000, count: 65_536 }));
/// assert_eq!(delegated_range("mesh:100000:65536\n", Some("else"), 1002), None);
/// ```
pub fn delegated_range(text: &str, user: Option<&str>, id: u32) -> Option<IdRange> {
    let number = id.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first: u32 = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            let ours = (Some(owner) == user && !owner.is_empty()) || owner == number;
            let fits = first > 0 && first.checked_add(count).is_some();
            (ours && fits && count >= USEFUL && fields.next().is_none())
                .then_some(IdRange { first, count })
        })
        .max_by_key(|range| range.count)
}

/// The map that makes `own` (the caller's id on the host) id 0 inside, and with a delegated range
/// gives the ids from 1 up to that range.
pub fn identity_map(own: u32, range: Option<IdRange>) -> Vec<IdMap> {
    let root = IdMap { inside: 0, outside: own, count: 1 };
    let others = range.map(|range| IdMap {
        inside: 1,
        outside: range.first,
        count: range.count.min(ENOUGH),
    });
    std::iter::once(root).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let cases = [
            ("mesh:100000:65536", Some((100_000, 65_536))),
            ("1001:200000:65536", Some((200_000, 65_536))),
            ("other:1:65536\nmesh:300000:70000\n", Some((300_000, 70_000))),
            ("mesh:100000:2000\nmesh:500000:65536\n", Some((500_000, 65_536))),
            ("mesh:100000:1000", None),
            ("mesh:100000", None),
            ("mesh:100000:65536:9", None),
            ("mesh:x:65536", None),
            ("mesh:4294967295:65536", None),
            ("mesh:0:65536", None),
            ("# comment\n\nmesh : 1 : 2\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(first, count)| IdRange { first, count });
            assert_eq!(delegated_range(text, Some("mesh"), 1001), expected, "{text:?}");
        }
        assert_eq!(delegated_range(":1:65536", Some(""), 1001), None);
    }

    #[test]
    fn maps_put_the_caller_at_zero() {
        let lines = |maps: Vec<IdMap>| maps.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lines(identity_map(1001, None)), ["0 1001 1"]);
        let range = Some(IdRange { first: 100_000, count: 65_536 });
        assert_eq!(lines(identity_map(1001, range)), ["0 1001 1", "1 100000 65535"]);
    }
}
