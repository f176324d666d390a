//! Writing a sealed recording.
//!
//! Owns the order of design §6: object to an unnamed file, `fsync`, cache dropped, read back from the medium and
//! matched; then the link and the `fsync` of its directory. Invariant 6: an object has a name only after all of this.
//!
//! Matched means: every chunk read back opens under the data key, so it is the ciphertext that was made here; and the
//! CRC-32C of all plaintext read back is the one that the hashing thread saw, so what was sealed is what was hashed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use zeroize::Zeroizing;

use super::{ObjectError, ObjectStore};
use crate::core::format::header::HEADER_BYTES;
use crate::core::format::layout::{CHUNK_BYTES, Footer, Layout, SEALED_CHUNK_BYTES, TAG_BYTES};
use crate::core::format::trailer::Trailer;
use crate::core::ids::{Digest, RecordingId};
use crate::shell::crypt::{BulkSha256, ChunkOpener, ChunkSealer};
use crate::shell::disk::direct::{AlignedBuffer, BLOCK_BYTES, DirectFile, drop_cache};
use crate::shell::disk::durable::{DiskError, link_unnamed, sync_dir, unnamed_file};
use crate::shell::disk::fault::{Op, call, on_file, write_on};

/// Chunks read, sealed and written at a time: 1 MiB.
const PIECE_CHUNKS: usize = 16;
/// Pieces that wait between reading and hashing.
const PIECES_WAITING: usize = 4;

/// A sealed recording without a name: durable, read back, matched. Dropped, it leaves nothing.
pub struct StagedObject {
    store: ObjectStore,
    file: File,
    id: RecordingId,
    sha256: Digest,
    plain_bytes: u64,
}

impl ObjectStore {
    /// Seals `source`, read once to its end, under the id in the header of `sealer`. `build_trailer` is told the
    /// SHA-256 and the length of what was read; these and the id are set in the trailer whatever it says. Memory is
    /// bounded, whatever the length.
    pub fn seal(
        &self,
        source: impl Read,
        mut sealer: ChunkSealer,
        build_trailer: impl FnOnce(Digest, u64) -> Trailer,
    ) -> Result<StagedObject, ObjectError> {
        let id = sealer.header().id;
        let header = sealer.header().encode();
        let path = self.path(id);
        let file = unnamed_file(&self.dir).map_err(DiskError::when("make an unnamed file in", &self.dir))?;
        write_on(Op::Write, &path, &file, &header).map_err(DiskError::when("write", &path))?;

        let hashed = seal_chunks(source, &mut sealer, &file, &path)?;
        let layout = Layout::new(hashed.bytes).map_err(|error| ObjectError::TooLong(error.what))?;

        let told = build_trailer(hashed.sha256, hashed.bytes);
        let trailer = Trailer { id, sha256: hashed.sha256, bytes: hashed.bytes, ..told };
        let (ending, opener) = seal_ending(trailer, layout, sealer)?;
        write_on(Op::Write, &path, &file, &ending).map_err(DiskError::when("write", &path))?;
        on_file(Op::Sync, &path, &file, || file.sync_all()).map_err(DiskError::when("sync", &path))?;
        call(Op::ReadBack, &path, || drop_cache(&file))
            .map_err(DiskError::when("drop the cache of", &path))?;

        let file = DirectFile::from_file(file);
        let crc = read_back(&file, &path, layout, &opener, &header, &ending)?;
        if crc != hashed.crc {
            return Err(ObjectError::NotKept(path));
        }
        let file = file.into_file();
        Ok(StagedObject { store: self.clone(), file, id, sha256: hashed.sha256, plain_bytes: hashed.bytes })
    }
}

impl StagedObject {
    /// The recording.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// SHA-256 of the original bytes.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Length of the original, in bytes.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Gives the object its name, durably when this returns. Never replaces: an object of this id makes it fail with
    /// `ErrorKind::AlreadyExists`.
    pub fn link(self) -> Result<(), ObjectError> {
        let folder = self.store.make_folder(self.id)?;
        let path = self.store.path(self.id);
        link_unnamed(&self.file, &path).map_err(DiskError::when("link", &path))?;
        Ok(sync_dir(&folder)?)
    }
}

/// What the hashing thread saw.
struct Hashed {
    bytes: u64,
    sha256: Digest,
    crc: u32,
}

/// A part of the recording in clear; wiped when dropped.
struct Piece {
    bytes: Zeroizing<Vec<u8>>,
    len: usize,
}

impl Piece {
    fn plain(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        self.len == self.bytes.len()
    }
}

/// Reads, encrypts and writes on this thread while another hashes.
fn seal_chunks(
    mut source: impl Read,
    sealer: &mut ChunkSealer,
    file: &File,
    path: &Path,
) -> Result<Hashed, ObjectError> {
    let (to_hash, pieces) = sync_channel::<Piece>(PIECES_WAITING);
    let (give_back, used) = sync_channel::<Piece>(PIECES_WAITING + 2);
    thread::scope(|scope| {
        let hasher = scope.spawn(move || hash(&pieces, &give_back));
        let sent = encrypt(&mut source, sealer, file, path, &to_hash, &used);
        drop(to_hash);
        let hashed = hasher.join().map_err(|_| ObjectError::Cipher);
        sent.and(hashed)
    })
}

fn hash(pieces: &Receiver<Piece>, give_back: &SyncSender<Piece>) -> Hashed {
    let (mut bytes, mut sha256, mut crc) = (0, BulkSha256::new(), 0);
    for piece in pieces {
        sha256.update(piece.plain());
        crc = crc32c::crc32c_append(crc, piece.plain());
        bytes += piece.len as u64;
        // Nobody takes it when the source has ended or failed: then it is wiped here.
        let _ = give_back.try_send(piece);
    }
    Hashed { bytes, sha256: sha256.finish(), crc }
}

fn encrypt(
    source: &mut impl Read,
    sealer: &mut ChunkSealer,
    file: &File,
    path: &Path,
    to_hash: &SyncSender<Piece>,
    used: &Receiver<Piece>,
) -> Result<(), ObjectError> {
    let mut sealed = Zeroizing::new(Vec::with_capacity(PIECE_CHUNKS * SEALED_CHUNK_BYTES));
    let (mut index, mut bytes) = (0, 0);
    let mut piece = next_piece(source, used)?;
    loop {
        // One piece ahead: the last chunk must know that it is the last.
        let next =
            if piece.is_full() { Some(next_piece(source, used)?).filter(|next| next.len > 0) } else { None };
        bytes += piece.len as u64;
        Layout::new(bytes).map_err(|error| ObjectError::TooLong(error.what))?;

        sealed.clear();
        let empty: &[u8] = &[];
        let mut chunks = piece.plain().chunks(CHUNK_BYTES).chain((bytes == 0).then_some(empty)).peekable();
        while let Some(chunk) = chunks.next() {
            let last = next.is_none() && chunks.peek().is_none();
            let start = sealed.len();
            sealed.extend_from_slice(chunk);
            let place = sealed.get_mut(start..).unwrap_or_default();
            let tag = sealer.seal_chunk(index, last, place).map_err(|_| ObjectError::Cipher)?;
            sealed.extend_from_slice(&tag);
            index += 1;
        }
        // The hashing thread ends early only by a panic, which joining it reports.
        if to_hash.send(piece).is_err() {
            return Err(ObjectError::Cipher);
        }
        write_on(Op::Write, path, file, &sealed).map_err(DiskError::when("write", path))?;
        match next {
            Some(next) => piece = next,
            None => return Ok(()),
        }
    }
}

/// Reads until a piece is full or the source ends.
fn next_piece(source: &mut impl Read, used: &Receiver<Piece>) -> Result<Piece, ObjectError> {
    let fresh = || Piece { bytes: Zeroizing::new(vec![0; PIECE_CHUNKS * CHUNK_BYTES]), len: 0 };
    let mut piece = used.try_recv().unwrap_or_else(|_| fresh());
    piece.len = 0;
    while let Some(rest) = piece.bytes.get_mut(piece.len..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => piece.len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ObjectError::Source(error)),
        }
    }
    Ok(piece)
}

/// Trailer, its tag and the footer, as they stand at the end of the file; and what opens the chunks again.
fn seal_ending(
    trailer: Trailer,
    layout: Layout,
    sealer: ChunkSealer,
) -> Result<(Vec<u8>, ChunkOpener), ObjectError> {
    let mut ending = trailer.encode().map_err(|error| ObjectError::TooLong(error.what))?;
    let trailer_bytes = u32::try_from(ending.len()).map_err(|_| ObjectError::TooLong("the trailer"))?;
    let footer = Footer { layout, trailer_bytes }.encode();
    let (tag, opener) =
        sealer.seal_trailer(layout.chunks(), &footer, &mut ending).map_err(|_| ObjectError::Cipher)?;
    ending.extend_from_slice(&tag);
    ending.extend_from_slice(&footer);
    Ok((ending, opener))
}

/// Opens every chunk of the file, from the medium; returns the CRC-32C of the plaintext.
fn read_back(
    file: &DirectFile,
    path: &Path,
    layout: Layout,
    opener: &ChunkOpener,
    header: &[u8; HEADER_BYTES],
    ending: &[u8],
) -> Result<u32, ObjectError> {
    let not_kept = || ObjectError::NotKept(path.to_owned());
    let mut window = Window::new(file, path);
    if window.read(0, HEADER_BYTES)? != header {
        return Err(not_kept());
    }
    let mut crc = 0;
    let mut plain = Zeroizing::new(vec![0; CHUNK_BYTES]);
    for index in 0..layout.chunks() {
        let held = layout.plain_range(index);
        let length = usize::try_from(held.end - held.start).map_err(|_| not_kept())?;
        let sealed = window.read(layout.chunk_offset(index), length + TAG_BYTES)?;
        let out = plain.get_mut(..length).ok_or_else(not_kept)?;
        opener.open_chunk(index, layout.is_last(index), sealed, out).map_err(|_| not_kept())?;
        crc = crc32c::crc32c_append(crc, out);
    }
    if window.read(layout.trailer_offset(), ending.len())? != ending {
        return Err(not_kept());
    }
    Ok(crc)
}

/// Reads a direct file forward at any offset, one aligned stretch at a time.
struct Window<'a> {
    file: &'a DirectFile,
    path: &'a Path,
    buffer: AlignedBuffer,
    start: u64,
    len: usize,
}

impl<'a> Window<'a> {
    /// Long enough for a piece and for the longest trailer, wherever they start.
    const BYTES: usize = (PIECE_CHUNKS * SEALED_CHUNK_BYTES).next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES;

    fn new(file: &'a DirectFile, path: &'a Path) -> Self {
        Self { file, path, buffer: AlignedBuffer::zeroed(Self::BYTES), start: 0, len: 0 }
    }

    /// `length` bytes at `offset`, fewer at the end of the file.
    fn read(&mut self, offset: u64, length: usize) -> Result<&[u8], DiskError> {
        if offset < self.start || offset + length as u64 > self.start + self.len as u64 {
            self.start = offset - offset % BLOCK_BYTES as u64;
            self.len = self
                .file
                .read_at(&mut self.buffer, self.start)
                .map_err(DiskError::when("read back", self.path))?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.len);
        let to = from.saturating_add(length).min(self.len);
        Ok(self.buffer.as_slice().get(from..to).unwrap_or_default())
    }
}
