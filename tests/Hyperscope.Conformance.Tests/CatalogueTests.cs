using System.Globalization;

namespace Hyperscope.Conformance.Tests;

public sealed class CatalogueTests
{
    [Fact]
    public void Every_row_of_the_v9_self_test_is_there_once()
    {
        string[] numbers = [.. Enumerable.Range(1, 64).Select(static number => number.ToString(CultureInfo.InvariantCulture))];
        Assert.Empty(numbers.Except(ConformanceSuite.Rows.Select(static row => row.Id)));
        Assert.Equal(ConformanceSuite.Rows.Count, ConformanceSuite.Rows.Select(static row => row.Id).Distinct().Count());
    }
}
