namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Which pairs of exceptions make a double fault (SDM vol. 3, "Conditions for Generating a Double Fault").</summary>
public sealed class DoubleFaultTests
{
    private const ulong Unmapped = 0x6_1000;

    public static TheoryData<int, bool> Pairs => new(
        from first in new[] { 0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19 }
        from isPageFault in new[] { false, true }
        select (first, isPageFault));

    [Theory]
    [MemberData(nameof(Pairs))]
    public void Contributory_faults_and_page_faults_double_and_others_follow_each_other(int first, bool isPageFault)
    {
        using var bench = new LongModeBench();
        bench.Machine.Map(Unmapped, 0, 0x1000, bits: 0);
        bench.Machine.Write64(LongModeBench.Tss + 0x2C, Unmapped + 0x800);
        bench.SetGate(first, ist: isPageFault ? 2 : 0, present: isPageFault);
        Assert.True(bench.Vcpu.TryQueueException((byte)first, 0, 0x1234));
        bool isContributory = first is 0 or 10 or 11 or 12 or 13, isDouble = first == 14 || (isContributory && !isPageFault);
        Assert.Equal(isDouble ? 8 : isPageFault ? 14 : 11, bench.RunToHandler());
        if (isDouble)
            Assert.Equal(0UL, bench.Stack(1)[0]);
        else if (!isPageFault)
            Assert.Equal(((ulong)first * 8) + 3, bench.Stack(1)[0]);
    }
}
