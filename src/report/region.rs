//! Regions of the catalogue as people know them, and where to put them on a map.

/// A region of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// As the catalogue writes it.
    pub code: &'static str,
    /// As people say it.
    pub name: &'static str,
    /// Longitude and latitude in degrees, where there is one place to point at.
    pub place: Option<(f32, f32)>,
}

/// Every region that the catalogue knows. The place is the capital's or that of the largest data
/// centres, only to draw by; it says nothing of where a server stands.
pub const REGIONS: &[Region] = &[
    region("CN", "China", 116.4, 39.9),
    region("SG", "Singapore", 103.8, 1.4),
    region("RU", "Russia", 37.6, 55.8),
    region("IN", "India", 77.2, 22.0),
    region("EU", "Europe", 8.7, 50.1),
    region("US", "United States", -98.0, 39.0),
    Region {
        code: "global",
        name: "anywhere",
        place: None,
    },
];

const fn region(
    code: &'static str,
    name: &'static str,
    longitude: f32,
    latitude: f32,
) -> Region {
    Region {
        code,
        name,
        place: Some((longitude, latitude)),
    }
}

/// What `code` means; `None` for one of a catalogue of the user's own that is not in the table.
#[must_use]
pub fn find(code: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|region| region.code == code)
}

/// The name of the region, or the code itself.
#[must_use]
pub fn name(code: &str) -> &str {
    find(code).map_or(code, |region| region.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    #[test]
    fn every_region_of_the_catalogue_has_a_name() {
        for endpoint in Catalogue::built_in().endpoints {
            assert!(find(&endpoint.region).is_some(), "{}", endpoint.region);
        }
    }
}
