
// The bits of element i of the input. The planner writes what comes before a kernel element by element in this place.
fn load(i: u32) -> u32 {
    return x[i];
}
