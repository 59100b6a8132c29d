using System.Globalization;

namespace Hyperscope.Compare;

/// <summary>Two things measured turn by turn, every other turn the other way round, so that a machine that slows down is not blamed on the
/// second. Times in seconds.</summary>
internal sealed class Pairs
{
    private readonly double[] _first, _second, _ratios;

    private Pairs(int turns)
    {
        _first = new double[turns];
        _second = new double[turns];
        _ratios = new double[turns];
    }

    public static Pairs Measure(int turns, Func<double> first, Func<double> second)
    {
        var pairs = new Pairs(turns);
        for (int turn = 0; turn < turns; turn++)
        {
            if ((turn & 1) == 0)
            {
                pairs._first[turn] = first();
                pairs._second[turn] = second();
            }
            else
            {
                pairs._second[turn] = second();
                pairs._first[turn] = first();
            }

            pairs._ratios[turn] = pairs._second[turn] / pairs._first[turn];
        }

        Array.Sort(pairs._first);
        Array.Sort(pairs._second);
        Array.Sort(pairs._ratios);
        return pairs;
    }

    public (double Best, double Median) First => (_first[0], _first[_first.Length / 2]);

    public (double Best, double Median) Second => (_second[0], _second[_second.Length / 2]);

    /// <summary>Second over first, of the best turn of each.</summary>
    public double BestRatio => _second[0] / _first[0];

    /// <summary>Second over first, the median of all turns.</summary>
    public double MedianRatio => _ratios[_ratios.Length / 2];

    /// <summary>Where the median ratio lies with 95 % confidence, whatever the distribution.</summary>
    public (double Low, double High) Confidence
    {
        get
        {
            int middle = _ratios.Length / 2, reach = (int)Math.Ceiling(0.98 * Math.Sqrt(_ratios.Length));
            return (_ratios[Math.Max(0, middle - reach)], _ratios[Math.Min(_ratios.Length - 1, middle + reach)]);
        }
    }

    /// <summary>Adds a row: what, best and median of both in the given unit, and how they compare.</summary>
    public void AddTo(Report report, string what, double unitsASecond, string format)
    {
        (double low, double high) = Confidence;
        report.Add(what, Text(First.Best * unitsASecond, format), Text(First.Median * unitsASecond, format), Text(Second.Best * unitsASecond, format),
            Text(Second.Median * unitsASecond, format), Text(BestRatio, "0.000"), Text(MedianRatio, "0.000"), $"{Text(low, "0.000")} to {Text(high, "0.000")}");
    }

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
