// Cooperative matrices of 8 x 8, halves in and singles out: what the matrix units of Apple's GPUs take, and llvmpipe's
// code. Halves stand in workgroup memory one by one: Metal loads matrices from nothing else.

enable f16;
enable wgpu_cooperative_matrix;

alias MatrixA = coop_mat8x8<f16, A>;
alias MatrixB = coop_mat8x8<f16, B>;
alias MatrixC = coop_mat8x8<f32, C>;

const SIDE = 8u;

// Elements of `staged` that a quad takes: A's tile, then B's.
const PER_QUAD = 4u;

var<workgroup> staged: array<f16, STAGED>;

fn stage(at: u32, quad: vec4<f16>) {
    staged[4u * at] = quad.x;
    staged[4u * at + 1u] = quad.y;
    staged[4u * at + 2u] = quad.z;
    staged[4u * at + 3u] = quad.w;
}
