namespace Hyperscope.Stress.Tests;

/// <summary>How much to do: little in every run of the suite, a lot with HYPERSCOPE_STRESS=long.</summary>
internal static class Effort
{
    public static bool IsLong => Environment.GetEnvironmentVariable("HYPERSCOPE_STRESS") == "long";

    public static int Times(int few, int many) => IsLong ? many : few;
}
