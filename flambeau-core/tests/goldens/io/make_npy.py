"""Writes npy/*.npy and npy/*.npz: arrays by NumPy, whose values the test knows. python3 make_npy.py"""
import io
import numpy as np

np.save("npy/f4.npy", np.arange(6, dtype="f4").reshape(2, 3) / 4)
np.save("npy/f4_big.npy", (np.arange(6).reshape(2, 3) / 4).astype(">f4"))
np.save("npy/f8_fortran.npy", np.asfortranarray(np.arange(24, dtype="f8").reshape(2, 3, 4)))
np.save("npy/i8_fortran_big.npy", np.asfortranarray(np.arange(6).reshape(2, 3).astype(">i8")))
np.save("npy/f2.npy", np.array([0.5, -2, 65504], "f2"))
np.save("npy/bool.npy", np.array([[True, False], [False, True]]))
np.save("npy/u1.npy", np.array([0, 255], "u1"))
np.save("npy/i1.npy", np.array([-128, 127], "i1"))
np.save("npy/i2.npy", np.array([-300, 300], "i2"))
np.save("npy/i4.npy", np.array([[[-70000]]], "i4"))
np.save("npy/scalar.npy", np.float64(2.5))
np.save("npy/empty.npy", np.zeros((0, 3), "i8"))
for v in (2, 3):
    with open(f"npy/version{v}.npy", "wb") as f:
        np.lib.format.write_array(f, np.arange(3, dtype="i8"), version=(v, 0))
np.save("npy/objects.npy", np.array([{}, None]), allow_pickle=True)
np.save("npy/records.npy", np.zeros(2, [("a", "f4"), ("b", "i8")]))
np.save("npy/complex.npy", np.zeros(2, "c8"))
np.save("npy/u4.npy", np.zeros(2, "u4"))
np.savez("npy/two.npz", w=np.arange(4, dtype="f4").reshape(2, 2), b=np.array([7, 8]))
np.savez_compressed("npy/compressed.npz", zeros=np.zeros((50, 50), "f4"), one=np.float32(1))
