"""What runs inside the allocation: the only place for torch, DeepSpeed, Ray and Dask."""
