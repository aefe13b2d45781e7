"""The shared graph against hand-worked distances and a slow loop; Laplacians, polynomials and walks by hand."""

import math

import torch

from cmust.baselines.graphs import chebyshev, distances, gaussian_kernel, laplacian, polynomials, transitions


def test_a_degree_of_a_meridian_is_111_km() -> None:
    d = distances(torch.tensor([0.0, 0.0, 90.0]), torch.tensor([0.0, 1.0, 0.0]))
    assert d.diagonal().abs().max() == 0
    assert math.isclose(d[0, 1], 6371 * math.pi / 180, rel_tol=1e-9)
    assert math.isclose(d[0, 2], 6371 * math.pi / 2, rel_tol=1e-9)


def test_kernel_as_a_loop_makes_it() -> None:
    d = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, math.inf], [4.0, 2.0, 0.0]]).double()
    finite = [x for x in d.flatten().tolist() if math.isfinite(x)]
    mean = sum(finite) / len(finite)
    sigma = math.sqrt(sum((x - mean) ** 2 for x in finite) / (len(finite) - 1))
    kernel = gaussian_kernel(d, threshold=0.2)
    for i in range(3):
        for j in range(3):
            weight = math.exp(-((d[i, j].item() / sigma) ** 2))
            assert math.isclose(kernel[i, j].item(), weight if weight >= 0.2 else 0.0, rel_tol=1e-6)
    assert kernel[1, 2] == 0 and (kernel.diagonal() == 1).all()


def test_walks_along_and_against_the_edges_by_hand() -> None:
    along, against = transitions(torch.tensor([[1.0, 3.0], [0.0, 1.0]]))
    assert along.tolist() == [[0.25, 0.75], [0.0, 1.0]]
    assert against.tolist() == [[1.0, 0.0], [0.75, 0.25]]
    assert torch.equal(transitions(torch.tensor([[[1.0, 3.0], [0.0, 1.0]]]))[1][0], against)


def test_laplacians_by_hand() -> None:
    edges = torch.tensor([[0.0, 4.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert laplacian(edges, normalised=False).tolist() == [[4.0, -4.0, 0.0], [-4.0, 4.0, 0.0], [0.0, 0.0, 0.0]]
    assert laplacian(edges, normalised=True).tolist() == [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_chebyshev_polynomials_are_cosines_of_multiple_angles() -> None:
    angles = torch.tensor([0.3, 1.1, 2.5]).double()
    for k, polynomial in enumerate(chebyshev(angles.cos().diag(), 5)):
        torch.testing.assert_close(polynomial, (k * angles).cos().diag())
    turned = torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    assert chebyshev(turned, 3)[2].tolist() == [[0.0, 0.0], [0.0, 0.0]]  # 2 G G - 1, not entry by entry


def test_polynomials_of_two_and_of_three_nodes_by_hand() -> None:
    # L = [[1, -1], [-1, 1]] has the eigenvalues 0 and 2, so it is L - 1; self-loops do not count.
    one, scaled = polynomials(torch.ones(2, 2), 2, normalised=False)
    assert one.tolist() == [[1.0, 0.0], [0.0, 1.0]] and scaled.tolist() == [[0.0, -1.0], [-1.0, 0.0]]
    assert polynomials(torch.eye(2), 2, normalised=False)[1].tolist() == [[-1.0, 0.0], [0.0, -1.0]]
    # Normalised, the Laplacian is 1 - A with A = 1 / sqrt(2) along the path; its eigenvalues are 0, 1 and 2.
    path = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    one, first, second = polynomials(path, 3, normalised=True)
    a = 0.5**0.5
    torch.testing.assert_close(one, torch.eye(3))
    torch.testing.assert_close(first, torch.tensor([[0, -a, 0], [-a, 0, -a], [0, -a, 0]]))
    torch.testing.assert_close(second, torch.tensor([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]]))


def test_a_single_place_is_its_own_neighbour() -> None:
    assert gaussian_kernel(torch.zeros(1, 1)).tolist() == [[1.0]]
