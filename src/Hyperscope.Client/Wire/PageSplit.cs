namespace Hyperscope.Client;

/// <summary>Splits ranges of any length into the pages that the protocol moves.</summary>
internal static class PageSplit
{
    /// <summary>Commands that one call keeps in flight.</summary>
    public const int Window = 128;

    /// <summary>Bytes from <paramref name="address"/> to the end of its page, at most <paramref name="length"/>.</summary>
    public static int NextLength(ulong address, int length) =>
        Math.Min(length, Gfn.PageSize - (int)(address & (Gfn.PageSize - 1)));

    /// <summary>Pages that a range touches.</summary>
    public static int Count(ulong address, int length) =>
        (int)(((address & (Gfn.PageSize - 1)) + (ulong)length + Gfn.PageSize - 1) >> Gfn.PageShift);

    /// <summary>Refuses a range that runs past the end of the address space.</summary>
    public static void CheckRange(ulong address, int length)
    {
        if (length != 0 && address + (ulong)(length - 1) < address)
            throw new ArgumentOutOfRangeException(nameof(length), $"{length} bytes at 0x{address:x} run past the end of the address space");
    }

    /// <summary>Awaits all of a window, also after a failure: then the first failure is thrown.</summary>
    public static async ValueTask<TOut[]> AwaitAll<TIn, TOut>(ValueTask<TIn>[] tasks, int count, Func<TIn, TOut> select)
    {
        var results = new TOut[count];
        System.Runtime.ExceptionServices.ExceptionDispatchInfo? failure = null;
        for (int i = 0; i < count; i++)
        {
            try
            {
                results[i] = select(await tasks[i].ConfigureAwait(false));
            }
            catch (Exception caught)
            {
                failure ??= System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(caught);
            }
        }

        failure?.Throw();
        return results;
    }
}
