//! The tiles above the entries: recomputed level by level and compared with the files.
//!
//! Level 0 is compared entry by entry in `walk`. Must never hold more than one tile a level.

use super::files::{FileError, Folder};
use super::findings::{Code, Report};
use crate::core::ledger::hash::Hash;
use crate::core::ledger::tile::{FULL, FULL_U64, parse_tile, partial_width, tile_path};
use crate::core::ledger::tree::root_of;

/// Bytes of a full tile.
pub const MAX_TILE_BYTES: usize = FULL * 32;

/// The rightmost tile of each level so far.
#[derive(Debug, Default)]
pub struct Tiles {
    levels: Vec<Level>,
    missing: Option<(String, u64)>,
}

#[derive(Debug, Default)]
struct Level {
    hashes: Vec<Hash>,
    n: u64,
}

impl Tiles {
    /// Adds a hash at `level` (a leaf at 0, the root over 256 at 1), and compares each tile above level 0 that becomes full:
    /// below `filed` entries it must have a file, behind them it may.
    pub fn push(
        &mut self,
        level: u8,
        hash: Hash,
        filed: u64,
        folder: &Folder,
        report: &mut Report,
    ) -> Result<(), FileError> {
        let mut hash = hash;
        for level in level..8_u8 {
            if self.levels.len() <= usize::from(level) {
                self.levels.resize_with(usize::from(level) + 1, Level::default);
            }
            let Some(tile) = self.levels.get_mut(usize::from(level)) else { return Ok(()) };
            tile.hashes.push(hash);
            if tile.hashes.len() < FULL {
                return Ok(());
            }
            let full = std::mem::take(&mut tile.hashes);
            let n = tile.n;
            tile.n += 1;
            let end = (n + 1).saturating_mul(FULL_U64.saturating_pow(u32::from(level) + 1));
            if level > 0 {
                self.compare((level, n, None), &full, end <= filed, folder, report)?;
            }
            hash = root_of(&full);
        }
        Ok(())
    }

    /// Compares the partial tiles above level 0 that a published tree of `size` has.
    pub fn finish(&mut self, size: u64, folder: &Folder, report: &mut Report) -> Result<(), FileError> {
        for (level, Level { hashes, n }) in (0..8_u8).zip(std::mem::take(&mut self.levels)).skip(1) {
            if let Some(width) = partial_width(level, size) {
                self.compare((level, n, Some(width)), &hashes, true, folder, report)?;
            }
        }
        Ok(())
    }

    /// Notes a tile that is not here.
    pub fn add_missing(&mut self, path: String) {
        self.missing.get_or_insert((path, 0)).1 += 1;
    }

    /// The first tile that is not here, and how many there are.
    pub fn missing(&self) -> Option<(&str, u64)> {
        self.missing.as_ref().map(|(path, count)| (path.as_str(), *count))
    }

    fn compare(
        &mut self,
        (level, n, width): (u8, u64, Option<u8>),
        computed: &[Hash],
        required: bool,
        folder: &Folder,
        report: &mut Report,
    ) -> Result<(), FileError> {
        match read_tile(folder, level, n, width)? {
            Tile::Hashes(stored) => {
                if let Some(place) =
                    stored.iter().zip(computed).position(|(stored, computed)| stored != computed)
                {
                    let path = tile_path(level, n, width);
                    report.add(
                        Code::TileDamaged,
                        None,
                        format!("{path} differs from the entries at hash {place}"),
                    );
                }
            }
            Tile::Missing if required => self.add_missing(tile_path(level, n, width)),
            Tile::Missing => {}
            Tile::Bad(sentence) => report.add(Code::TileDamaged, None, sentence),
        }
        Ok(())
    }
}

/// What stands where a tile belongs.
#[derive(Debug)]
pub enum Tile {
    /// As many hashes as wanted.
    Hashes(Vec<Hash>),
    /// Nothing.
    Missing,
    /// Something else, in one sentence.
    Bad(String),
}

/// Reads a tile of `width` hashes (full without); a full tile stands in for a partial one, as tlog-tiles allows.
pub fn read_tile(folder: &Folder, level: u8, n: u64, width: Option<u8>) -> Result<Tile, FileError> {
    let path = tile_path(level, n, width);
    let wanted = width.map_or(FULL, usize::from);
    let bytes = match folder.read(&path, wanted * 32) {
        Ok(None) if width.is_some() => folder.read(&tile_path(level, n, None), MAX_TILE_BYTES),
        other => other,
    };
    let bytes = match bytes {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Tile::Missing),
        Err(error @ FileError::Refused { .. }) => return Ok(Tile::Bad(error.to_string())),
        Err(error) => return Err(error),
    };
    match parse_tile(&bytes) {
        Ok(mut hashes) if hashes.len() >= wanted => {
            hashes.truncate(wanted);
            Ok(Tile::Hashes(hashes))
        }
        Ok(hashes) => Ok(Tile::Bad(format!("{path} holds {} hashes instead of {wanted}", hashes.len()))),
        Err(error) => Ok(Tile::Bad(format!("{path} cannot be read: {error}"))),
    }
}
