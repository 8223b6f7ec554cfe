//! SPDY header blocks: names and values, compressed with zlib and a dictionary known to both
//! sides. One compression context lasts for a direction of a connection, so every block must be
//! read, in order.

use std::sync::LazyLock;

use bytes::{Buf, BufMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::FrameError;

/// Names (in lower case) and values.
pub(crate) type Headers = Vec<(String, String)>;

/// Largest block when it is inflated.
const BLOCK: usize = 16 * 1024;
/// Most headers of a block.
const COUNT: u32 = 64;
/// Room made at once.
const STEP: usize = 2048;

/// The words of the dictionary that are preceded by their length.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base \
    content-encoding content-language content-length content-location content-md5 content-range \
    content-type date etag expect expires from host if-match if-modified-since if-none-match \
    if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
    proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url \
    public set-cookie keep-alive origin";
/// What follows them.
const TAIL: &str = "1001012012022052063003023033043053063074024054064074084094104114124134144154\
    16417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad \
    Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not \
    Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 \
    Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,\
    deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary of the draft.
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut all = Vec::with_capacity(STEP);
    for word in WORDS.split(' ') {
        let word = word.replace('_', " ");
        all.put_u32(u32::try_from(word.len()).unwrap_or_default());
        all.put_slice(word.as_bytes());
    }
    all.put_slice(TAIL.as_bytes());
    all
});

/// Reads the blocks of one direction.
#[derive(Debug)]
pub(super) struct HeaderReader {
    inflate: Decompress,
}

impl HeaderReader {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(true) }
    }

    /// Reads the next block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, FrameError> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut text = Vec::with_capacity(STEP);
        loop {
            let (used, made) = (self.inflate.total_in(), text.len());
            let result = self.inflate.decompress_vec(block, &mut text, FlushDecompress::Sync);
            let used = usize::try_from(self.inflate.total_in() - used).unwrap_or(block.len());
            block = block.get(used..).unwrap_or_default();
            match result {
                Err(err) if err.needs_dictionary().is_some() => {
                    let known = self.inflate.set_dictionary(&DICTIONARY);
                    known.map_err(|_| FrameError::Headers("an unknown dictionary"))?;
                }
                Err(_) | Ok(Status::StreamEnd) => {
                    return Err(FrameError::Headers("not a zlib stream"));
                }
                Ok(_) if text.len() >= BLOCK => return Err(FrameError::Headers("too long")),
                // All the room was used: there may be more.
                Ok(_) if text.len() == text.capacity() => text.reserve(STEP),
                Ok(_) if block.is_empty() => return Ok(text),
                Ok(_) if used == 0 && text.len() == made => {
                    return Err(FrameError::Headers("not a zlib stream"));
                }
                Ok(_) => {}
            }
        }
    }
}

/// Writes the blocks of the other direction.
#[derive(Debug)]
pub(super) struct HeaderWriter {
    deflate: Compress,
}

impl HeaderWriter {
    pub(super) fn new() -> Self {
        let mut deflate = Compress::new(Compression::fast(), true);
        // A compressor that is new takes any dictionary.
        let _ = deflate.set_dictionary(&DICTIONARY);
        Self { deflate }
    }

    /// Writes the next block.
    pub(super) fn write(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, FrameError> {
        let mut text = Vec::new();
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        text.put_u32(length(headers.len()));
        for part in headers.iter().flat_map(|(name, value)| [name, value]) {
            text.put_u32(length(part.len()));
            text.put_slice(part.as_bytes());
        }
        let mut block = Vec::with_capacity(STEP + text.len());
        self.deflate
            .compress_vec(&text, &mut block, FlushCompress::Sync)
            .map_err(|_| FrameError::Headers("they cannot be compressed"))?;
        Ok(block)
    }
}

fn parse(mut text: &[u8]) -> Result<Headers, FrameError> {
    let count = number(&mut text)?;
    if count > COUNT {
        return Err(FrameError::Headers("too many"));
    }
    (0..count)
        .map(|_| {
            let name = string(&mut text)?.to_ascii_lowercase();
            Ok((name, string(&mut text)?))
        })
        .collect()
}

fn number(text: &mut &[u8]) -> Result<u32, FrameError> {
    if text.remaining() < 4 { Err(FrameError::Headers("cut short")) } else { Ok(text.get_u32()) }
}

fn string(text: &mut &[u8]) -> Result<String, FrameError> {
    let length = usize::try_from(number(text)?).unwrap_or(usize::MAX);
    let (part, rest) = text.split_at_checked(length).ok_or(FrameError::Headers("cut short"))?;
    *text = rest;
    String::from_utf8(part.to_vec()).map_err(|_| FrameError::Headers("not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// The draft gives the checksum by which zlib knows the dictionary.
    #[test]
    fn the_dictionary_is_that_of_the_draft() {
        let (low, high) = DICTIONARY.iter().fold((1_u32, 0_u32), |(low, high), byte| {
            let low = (low + u32::from(*byte)) % 65_521;
            (low, (high + low) % 65_521)
        });
        assert_eq!(high << 16 | low, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_share_one_context() {
        let (mut writer, mut reader) = (HeaderWriter::new(), HeaderReader::new());
        let headers = vec![pair("streamtype", "data"), pair("port", "8080")];
        let first = writer.write(&headers).unwrap();
        let second = writer.write(&headers).unwrap();
        assert!(second.len() < first.len(), "{} {}", first.len(), second.len());
        assert_eq!(reader.read(&first), Ok(headers.clone()));
        assert_eq!(reader.read(&second), Ok(headers));
    }

    #[test]
    fn a_small_block_may_not_become_a_big_one() {
        let mut writer = HeaderWriter::new();
        let block = writer.write(&[pair("a", &"x".repeat(2 * BLOCK))]).unwrap();
        assert!(block.len() < BLOCK);
        assert_eq!(HeaderReader::new().read(&block), Err(FrameError::Headers("too long")));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(block in any::<Vec<u8>>()) {
            let _ = HeaderReader::new().read(&block);
            let _ = parse(&block);
        }

        #[test]
        fn headers_survive(value in ".{0,200}") {
            let headers = vec![pair("name", &value)];
            let block = HeaderWriter::new().write(&headers).unwrap();
            prop_assert_eq!(HeaderReader::new().read(&block), Ok(headers));
        }
    }
}
