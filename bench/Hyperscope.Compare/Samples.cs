namespace Hyperscope.Compare;

/// <summary>Durations of one thing, in nanoseconds.</summary>
internal sealed class Samples(int capacity)
{
    private readonly double[] _values = new double[capacity];
    private bool _isSorted;

    public int Count { get; private set; }

    public void Add(double nanoseconds)
    {
        if (Count < _values.Length)
            _values[Count++] = nanoseconds;
        _isSorted = false;
    }

    public double Quantile(double q)
    {
        if (!_isSorted)
            Array.Sort(_values, 0, Count);
        _isSorted = true;
        return Count == 0 ? double.NaN : _values[Math.Min(Count - 1, (int)(q * Count))];
    }
}
