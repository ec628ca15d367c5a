//! Zips by hand (APPNOTE.TXT 4.3), for those that no program would write.

/// APPNOTE.TXT 4.4.5.
pub(crate) const DEFLATE: u16 = 8;
const STORE: u16 = 0;

/// A file, and what the zip says of it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// In front of the data; the directory at the end has `name`.
    pub(crate) local_name: String,
    pub(crate) method: u16,
    pub(crate) size: usize,
    pub(crate) crc: u32,
    pub(crate) packed: Vec<u8>,
    /// Whether the directory has it.
    pub(crate) is_listed: bool,
}

impl Entry {
    pub(crate) fn stored(name: &str, data: &[u8]) -> Self {
        Self {
            method: STORE,
            ..Self::deflated(name, data, data)
        }
    }

    pub(crate) fn deflated(name: &str, data: &[u8], packed: &[u8]) -> Self {
        Self {
            name: name.into(),
            local_name: name.into(),
            method: DEFLATE,
            size: data.len(),
            crc: rawzip::crc32(data),
            packed: packed.to_vec(),
            is_listed: true,
        }
    }

    /// What the local header and the directory have in common, and the name.
    fn describe(&self, name: &str, between: &[u8]) -> Vec<u8> {
        let mut bytes = vec![20, 0, 0, 0];
        bytes.extend(self.method.to_le_bytes());
        bytes.extend([0, 0, 0x21, 0]); // 1980-01-01
        bytes.extend(self.crc.to_le_bytes());
        bytes.extend(u32::try_from(self.packed.len()).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(self.size).unwrap().to_le_bytes());
        bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(between);
        bytes.extend(name.as_bytes());
        bytes
    }
}

pub(crate) fn zip_of(entries: &[Entry]) -> Vec<u8> {
    let (mut zip, mut directory, mut count) = (Vec::new(), Vec::new(), 0u16);
    for entry in entries {
        let offset = u32::try_from(zip.len()).unwrap();
        zip.extend(b"PK\x03\x04");
        zip.extend(entry.describe(&entry.local_name, &[]));
        zip.extend(&entry.packed);
        if entry.is_listed {
            let mut rest = vec![0; 10];
            rest.extend(offset.to_le_bytes());
            directory.extend(b"PK\x01\x02\x14\x03");
            directory.extend(entry.describe(&entry.name, &rest));
            count += 1;
        }
    }
    let start = u32::try_from(zip.len()).unwrap();
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend(count.to_le_bytes());
    zip.extend(count.to_le_bytes());
    zip.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0, 0]);
    zip
}
