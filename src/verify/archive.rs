//! A ledger in a `.tar` or `.tar.zst`: one pass makes an index, then its files are read like those of a folder.
//!
//! A plain archive on disk is read in place; anything that only streams goes through an unlinked temporary file. Must never
//! make a file with a name, believe a length before it is checked, or hold more of a member in memory than one buffer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, Write as _};
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use tar::{Entry, EntryType, PaxExtensions};

/// Most files and folders in one archive: a ledger of two hundred million entries.
const MAX_MEMBERS: usize = 1 << 21;
/// Longest path: those of a ledger have fewer than 60 bytes, below whatever folder was packed.
const MAX_PATH_BYTES: usize = 512;
/// Longest header that describes the next member.
const MAX_EXTENSION_BYTES: u64 = 1 << 16;

/// Why an archive is not used at all.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A member that an archive of a ledger does not have.
    #[error("{path} {why}")]
    Member {
        /// Its path, as written.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The archive as a whole.
    #[error("{0}")]
    Whole(&'static str),
    /// It cannot be read or unpacked.
    #[error("it cannot be unpacked")]
    Io(#[from] io::Error),
}

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Unpacking<'a> {
    /// Where the unlinked file is made.
    pub scratch: &'a Path,
    /// Most bytes after decompression.
    pub max_bytes: u64,
}

/// Where each file of the archive lies.
#[derive(Debug)]
pub struct Archive {
    file: File,
    /// The folder that was packed, with its slash; empty when its files stand at the top.
    root: String,
    files: BTreeMap<Box<str>, (u64, u64)>,
    folders: BTreeSet<Box<str>>,
}

impl Archive {
    /// An archive on disk. A plain one stays where it is.
    pub fn of_file(mut file: File, unpacking: Unpacking<'_>) -> Result<Self, ArchiveError> {
        let mut start = [0; 4];
        let length = read_start(&mut file, &mut start)?;
        file.rewind()?;
        if Packing::of(start.get(..length).unwrap_or_default())? == Packing::Zstd {
            return Self::of_stream(file, unpacking);
        }
        let mut index = Index { end: file.metadata()?.len(), ..Index::default() };
        index.read(tar::Archive::new(&file).entries_with_seek()?, None)?;
        index.into_archive(file)
    }

    /// An archive that comes as a stream: the standard input, or a compressed file.
    pub fn of_stream(mut stream: impl Read, unpacking: Unpacking<'_>) -> Result<Self, ArchiveError> {
        let mut start = [0; 4];
        let length = read_start(&mut stream, &mut start)?;
        let start = start.get(..length).unwrap_or_default();
        let packing = Packing::of(start)?;
        let stream = BufReader::with_capacity(1 << 16, start.chain(stream));
        let plain: Box<dyn Read + '_> = match packing {
            Packing::None => Box::new(stream),
            Packing::Zstd => Box::new(Zstd { source: stream, decoder: FrameDecoder::new(), inside: false }),
        };
        let bounded = Bounded { source: plain, left: unpacking.max_bytes };
        let file = tempfile::tempfile_in(unpacking.scratch)?;
        let mut index = Index { end: u64::MAX, ..Index::default() };
        index.read(tar::Archive::new(bounded).entries()?, Some(&file))?;
        index.into_archive(file)
    }

    /// Where the file at `path` lies, and its length.
    pub fn find(&self, path: &str) -> Option<(u64, u64)> {
        self.files.get(format!("{}{path}", self.root).as_str()).copied()
    }

    /// Whether there is a folder at `path`.
    pub fn is_folder(&self, path: &str) -> bool {
        let full = format!("{}{path}", self.root);
        self.folders.contains(full.as_str()) || self.below(&format!("{full}/")).next().is_some()
    }

    /// The names of what stands directly in the folder at `path`.
    pub fn names<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let full = format!("{}{path}/", self.root);
        let skip = full.len();
        self.below(&full).filter_map(move |path| path.get(skip..)).filter(|name| !name.contains('/'))
    }

    /// Reads at an offset of the archive.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn below<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let prefix = prefix.to_owned();
        self.files
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .map(|(path, _)| &**path)
            .take_while(move |path| path.starts_with(&prefix))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Zstd,
}

impl Packing {
    fn of(start: &[u8]) -> Result<Self, ArchiveError> {
        match start {
            [0x28, 0xB5, 0x2F, 0xFD] | [0x50..=0x5F, 0x2A, 0x4D, 0x18] => Ok(Self::Zstd),
            [0x1F, 0x8B, ..] => {
                Err(ArchiveError::Whole("it is packed with gzip: give it unpacked, or as .tar.zst"))
            }
            [] => Err(ArchiveError::Whole("it is empty")),
            _ => Ok(Self::None),
        }
    }
}

fn read_start(stream: &mut impl Read, start: &mut [u8; 4]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = start.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// What one pass through the members gathers.
#[derive(Debug, Default)]
struct Index {
    files: BTreeMap<Box<str>, (u64, u64)>,
    folders: BTreeSet<Box<str>>,
    /// Where an archive read in place ends.
    end: u64,
    /// Bytes written to the temporary file.
    written: u64,
    /// The name that a header before its member gives.
    long_name: Option<Vec<u8>>,
}

impl Index {
    /// `copy_to`: where the bytes go; without, they are found in the archive itself.
    fn read<R: Read>(
        &mut self,
        entries: tar::Entries<'_, R>,
        copy_to: Option<&File>,
    ) -> Result<(), ArchiveError> {
        // Raw: the crate would read a long name of any length into memory.
        for entry in entries.raw(true) {
            self.member(entry?, copy_to)?;
            if self.files.len() + self.folders.len() > MAX_MEMBERS {
                return Err(ArchiveError::Whole("it holds too many files for a ledger"));
            }
        }
        match self.long_name {
            Some(_) => Err(ArchiveError::Whole("it ends within a member")),
            None => Ok(()),
        }
    }

    fn member<R: Read>(
        &mut self,
        mut entry: Entry<'_, R>,
        copy_to: Option<&File>,
    ) -> Result<(), ArchiveError> {
        let kind = entry.header().entry_type();
        if [EntryType::GNULongName, EntryType::XHeader, EntryType::XGlobalHeader].contains(&kind) {
            return self.extension(kind, &mut entry);
        }
        let name = self.long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let written = String::from_utf8_lossy(&name).into_owned();
        let refused = |why| ArchiveError::Member { path: written.clone(), why };
        let path = plain_path(&name).map_err(refused)?;
        let is_folder = kind == EntryType::Directory || (kind == EntryType::Regular && name.ends_with(b"/"));
        if is_folder {
            if entry.size() > 0 {
                return Err(refused("is a folder with content"));
            }
            self.folders.insert(path);
            return Ok(());
        }
        if kind != EntryType::Regular || path.is_empty() {
            return Err(refused(
                "is a link, a device or a file with holes; an archive of a ledger has files and folders only",
            ));
        }
        let place = match copy_to {
            None => self.place_within(entry.raw_file_position(), entry.size()),
            Some(file) => self.copy(&mut entry, file)?,
        };
        let place = place.ok_or_else(|| refused("is cut short"))?;
        match self.files.insert(path, place) {
            None => Ok(()),
            Some(_) => Err(refused("is in the archive twice")),
        }
    }

    /// A header that names the next member; what else it says is refused when it would change the bytes.
    fn extension<R: Read>(&mut self, kind: EntryType, entry: &mut Entry<'_, R>) -> Result<(), ArchiveError> {
        let size = entry.size();
        if size > MAX_EXTENSION_BYTES {
            return Err(ArchiveError::Whole("a header in it is too long"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(ArchiveError::Whole("it ends within a header"));
        }
        let mut name = None;
        if kind == EntryType::GNULongName {
            while bytes.pop_if(|last| *last == 0).is_some() {}
            name = Some(bytes);
        } else {
            for extension in PaxExtensions::new(&bytes) {
                let extension = extension?;
                match extension.key_bytes() {
                    b"path" if kind == EntryType::XHeader => name = Some(extension.value_bytes().to_vec()),
                    b"path" | b"linkpath" | b"size" => {
                        return Err(ArchiveError::Whole("a header in it changes what its members are"));
                    }
                    key if key.starts_with(b"GNU.sparse") => {
                        return Err(ArchiveError::Whole("it holds files with holes"));
                    }
                    _ => {}
                }
            }
        }
        if name.is_some() && self.long_name.is_some() {
            return Err(ArchiveError::Whole("two headers in it name the same member"));
        }
        self.long_name = name.or(self.long_name.take());
        Ok(())
    }

    fn place_within(&self, offset: u64, size: u64) -> Option<(u64, u64)> {
        offset.checked_add(size).filter(|end| *end <= self.end).map(|_| (offset, size))
    }

    fn copy<R: Read>(&mut self, entry: &mut Entry<'_, R>, mut file: &File) -> io::Result<Option<(u64, u64)>> {
        let (offset, size) = (self.written, entry.size());
        self.written += io::copy(entry, &mut file)?;
        file.flush()?;
        Ok((self.written - offset == size).then_some((offset, size)))
    }

    fn into_archive(self, file: File) -> Result<Archive, ArchiveError> {
        let Self { files, folders, .. } = self;
        let depth = |root: &str| root.matches('/').count();
        let mut roots: Vec<&str> = files
            .keys()
            .filter_map(|path| path.strip_suffix("checkpoint").or_else(|| path.strip_suffix("tail")))
            .filter(|root| root.is_empty() || root.ends_with('/'))
            .collect();
        roots.sort_by_key(|root| depth(root));
        roots.dedup();
        let root = match roots.as_slice() {
            [] => String::new(),
            [first, second, ..] if depth(first) == depth(second) => {
                return Err(ArchiveError::Whole("it holds more than one ledger"));
            }
            [first, ..] => (*first).to_owned(),
        };
        Ok(Archive { file, root, files, folders })
    }
}

/// The path without what means nothing; refused when it leads anywhere else.
fn plain_path(name: &[u8]) -> Result<Box<str>, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "has a name that is not UTF-8")?;
    if name.len() > MAX_PATH_BYTES {
        return Err("has a name longer than any in a ledger");
    }
    if name.starts_with('/') {
        return Err("has an absolute name");
    }
    if name.chars().any(char::is_control) {
        return Err("has a control character in its name");
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !["", "."].contains(part)).collect();
    if parts.contains(&"..") {
        return Err("has a name that leads out of the archive");
    }
    Ok(parts.join("/").into())
}

/// Stops a stream that unpacks to more than was allowed.
struct Bounded<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(
                "it unpacks to more than --max-unpacked allows; raise it if the archive is honest",
            )
        })?;
        Ok(read)
    }
}

/// All frames of a Zstandard stream, one after the other.
struct Zstd<R: Read> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: Read> Zstd<R> {
    /// False at the end of the stream.
    fn enter_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.inside = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? != length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    fn leave_frame(&mut self) -> io::Result<()> {
        self.inside = false;
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("its Zstandard checksum is wrong"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside && !self.enter_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            self.leave_frame()?;
        }
    }
}
