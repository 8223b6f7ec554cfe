//! The protobuf wire format: tags, varints, lengths.

/// The value of one field, still undecoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    /// A varint.
    Varint(u64),
    /// Length-delimited bytes: a string, bytes, a message or a packed list.
    Bytes(&'a [u8]),
    /// A fixed-width number; no field here has one.
    Fixed,
}

/// Iterates over the fields of one message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * index as u32;
            // The tenth byte holds one bit.
            if index == 9 && bits > 1 {
                return Err("a number is longer than 64 bits");
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err("a number is cut short or longer than 64 bits")
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], &'static str> {
        let length = usize::try_from(length).map_err(|_| "a length is out of range")?;
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or("a field is longer than its message")?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Payload<'a>), &'static str> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| "a field number is out of range")?;
        if number == 0 {
            return Err("a field has number 0");
        }
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Payload::Fixed
            }
            2 => {
                let length = self.varint()?;
                Payload::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Payload::Fixed
            }
            _ => return Err("a field has an unknown wire type"),
        };
        Ok((number, payload))
    }

    /// The next field; after an error there is none.
    pub(super) fn next(&mut self) -> Option<Result<(u32, Payload<'a>), &'static str>> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::{Payload, Reader};

    #[test]
    fn fields() {
        let mut reader = Reader::new(b"\x08\x96\x01\x12\x02hi\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0");
        assert_eq!(reader.next(), Some(Ok((1, Payload::Varint(150)))));
        assert_eq!(reader.next(), Some(Ok((2, Payload::Bytes(b"hi")))));
        assert_eq!(reader.next(), Some(Ok((3, Payload::Fixed))));
        assert_eq!(reader.next(), Some(Ok((4, Payload::Fixed))));
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn broken_bytes() {
        let cases: [&[u8]; 7] = [
            b"\x08",
            b"\x12\x05hi",
            b"\x00\x01",
            b"\x0b",
            b"\x19\0",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ];
        for bytes in cases {
            let mut reader = Reader::new(bytes);
            assert!(matches!(reader.next(), Some(Err(_))), "{bytes:?}");
            assert_eq!(reader.next(), None);
        }
    }
}
